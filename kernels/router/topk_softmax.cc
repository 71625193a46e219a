#include "kernels/base/math.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/selection.h"
#include "kernels/router/weigh.h"

namespace switchyard::kernels {

// gpt-oss, and Megatron-LM's default: the k largest logits, then the softmax over those k. With
// k = 1 the weight is always 1.
bool ChooseTopKSoftmax(const RouterArgs& args, const RouterRow& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  SelectLargest(row.logits, args.experts, args.k, row.ids);
  for (int64_t r = 0; r < args.k; ++r) row.weights[r] = Exp(row.logits[row.ids[r]] - max);
  DivideBySum(row.weights, args.k, /*floor=*/0.0f, /*added=*/0.0f);
  return true;
}

}  // namespace switchyard::kernels
