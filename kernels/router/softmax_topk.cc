#include "kernels/base/math.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {

void SetSoftmaxWeights(const RouterArgs& args, const RouterRow& row, float max) {
  const float total = SumExp(row.logits, args.experts, max);
  for (int64_t r = 0; r < args.k; ++r) {
    row.weights[r] = Exp(row.logits[row.ids[r]] - max) / total;
  }
}

// Mixtral, Qwen, OLMoE, DeepSeek-V2 greedy, Switch, GShard, GLaM, Mesh-TensorFlow, Tutel,
// MegaBlocks: softmax over all experts, the k most probable.
bool ChooseSoftmaxTopK(const RouterArgs& args, const RouterRow& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  // By logit: the exponential could make unequal ones equal.
  SelectLargest(row.logits, args.experts, args.k, row.ids);
  SetSoftmaxWeights(args, row, max);
  return true;
}

}  // namespace switchyard::kernels
