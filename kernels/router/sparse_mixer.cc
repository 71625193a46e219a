#include "kernels/router/sparse_mixer.h"

#include <limits>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {
namespace {

// The softmax at the maximum over those that are near it, without `removed`.
float WeightOfMax(const RouterArgs& args, const RouterRow& row, float max, int32_t removed) {
  const float threshold = 2.0f * args.convention->mixer_jitter;
  LaneSum total;
  for (int64_t i = 0; i < args.experts; ++i) {
    if (i == removed || IsMaskedByMixer(row.logits[i], max, threshold)) continue;
    total.Add(i, Exp(row.logits[i] - max));
  }
  return 1.0f / total.Total();
}

}  // namespace

// Phi-3.5-MoE (arXiv 2409.12136, inference): the arg-max and its softmax over the logits near it,
// then the same without that expert. The two weights do not add up to 1.
bool ChooseSparseMixer(const RouterArgs& args, const RouterRow& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  SelectLargest(row.logits, args.experts, 2, row.ids);
  row.weights[0] = WeightOfMax(args, row, max, /*removed=*/-1);
  const float second = row.logits[row.ids[1]];
  const bool exists = second > -std::numeric_limits<float>::infinity();
  row.weights[1] = exists ? WeightOfMax(args, row, second, row.ids[0]) : 0.0f;
  return true;
}

}  // namespace switchyard::kernels
