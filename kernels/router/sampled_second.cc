#include <limits>

#include "kernels/router/choose_row.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {

// DeepSpeed top2gating: the arg-max, then the arg-max of the other logits with Gumbel noise, which
// draws the second expert in proportion to its probability. The first need not have more weight.
bool ChooseSampledSecond(const RouterArgs& args, const RouterRow& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  SelectLargest(row.logits, args.experts, 2, row.ids);
  if (args.gumbel != nullptr) {
    const float* gumbel = args.gumbel + row.index * args.experts;
    float best = -std::numeric_limits<float>::infinity();
    for (int32_t i = 0; i < args.experts; ++i) {
      const float noisy = row.logits[i] + gumbel[i];
      if (i == row.ids[0] || !(noisy > best)) continue;
      best = noisy;
      row.ids[1] = i;
    }
  }
  SetSoftmaxWeights(args, row, max);
  return true;
}

}  // namespace switchyard::kernels
