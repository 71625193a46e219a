#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/router/router.h"

namespace switchyard::kernels {

// The definition in router.h, step by step: every probability, then a full sort.
void SoftmaxTopKReference(const RouterArgs& args) {
  SetComputeThreadFloatMode();
  const bool renormalize = args.convention->normalization == Normalization::kChosen;
  const size_t experts = static_cast<size_t>(args.experts);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* logits = args.logits + row * args.experts;
    int32_t* ids = args.ids + row * args.k;
    float* weights = args.weights + row * args.k;

    const bool bounded = std::all_of(logits, logits + experts, [](float logit) {
      return !std::isnan(logit) && logit != INFINITY;
    });
    const bool any =
        std::any_of(logits, logits + experts, [](float l) { return std::isfinite(l); });
    args.failed[row] = !(bounded && any);
    if (args.failed[row]) {
      std::fill_n(ids, args.k, -1);
      std::fill_n(weights, args.k, 0.0f);
      continue;
    }

    const float max = *std::max_element(logits, logits + experts);
    std::vector<float> probability(experts);
    LaneSum total;
    for (size_t i = 0; i < experts; ++i) {
      probability[i] = Exp(logits[i] - max);
      total.Add(static_cast<int64_t>(i), probability[i]);
    }
    for (float& p : probability) p /= total.Total();

    std::vector<int32_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });

    LaneSum chosen;
    for (int64_t r = 0; r < args.k; ++r) chosen.Add(r, probability[order[r]]);
    for (int64_t r = 0; r < args.k; ++r) {
      ids[r] = order[r];
      weights[r] = probability[order[r]];
      if (renormalize) weights[r] /= chosen.Total();
    }
  }
}

}  // namespace switchyard::kernels
