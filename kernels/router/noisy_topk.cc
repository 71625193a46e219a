#include "kernels/router/noisy_topk.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/math.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {
namespace {

// log(1 + x) for x in [0, 1]: the logarithm of the rounded sum, corrected for that rounding.
float Log1p(float x) {
  const float sum = 1.0f + x;
  return sum == 1.0f ? x : Log(sum) * (x / (sum - 1.0f));
}

}  // namespace

float Softplus(float x) { return std::max(x, 0.0f) + Log1p(Exp(-std::abs(x))); }

void NoisyLogits(const RouterArgs& args, int64_t row, float* noisy) {
  const float* logits = args.logits + row * args.experts;
  std::copy_n(logits, args.experts, noisy);
  if (args.noise == nullptr) return;
  for (int64_t i = 0; i < args.experts; ++i) {
    const int64_t at = row * args.experts + i;
    const float sigma = Softplus(args.noise_logits[at]) + args.convention->noise_epsilon;
    noisy[i] += args.noise[at] * sigma;
  }
}

// Shazeer et al. 2017, arXiv 1701.06538: top-k of the noisy logits, softmax over the k.
bool ChooseNoisyTopK(const RouterArgs& args, const RouterRow& row) {
  float noisy[kMaxRouterExperts];
  NoisyLogits(args, row.index, noisy);
  return ChooseTopKSoftmax(args, {row.index, noisy, row.ids, row.weights});
}

}  // namespace switchyard::kernels
