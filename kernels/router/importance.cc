#include "kernels/router/importance.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/lane_sum.h"
#include "kernels/base/math.h"
#include "kernels/base/thread_pool.h"
#include "kernels/router/noisy_topk.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {
namespace {

// erfc(z) for z >= 0: the Chebyshev fit of Numerical Recipes (erfcc), relative error 1.2e-7 before
// rounding.
float ComplementaryErrorFunction(float z) {
  constexpr float kFit[] = {0.17087277f,  -0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f,
                            -0.18628806f, 0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
  const float t = 1.0f / (1.0f + 0.5f * z);
  float fit = 0.0f;
  for (const float coefficient : kFit) fit = std::fma(fit, t, coefficient);
  return t * Exp(fit - z * z);
}

// Phi(x), the standard normal distribution.
float NormalCdf(float x) {
  constexpr float kInverseSqrt2 = 0.70710678f;
  const float tail = 0.5f * ComplementaryErrorFunction(std::abs(x) * kInverseSqrt2);
  return x < 0.0f ? tail : 1.0f - tail;
}

void AddLoadOfRow(const RouterArgs& args, int64_t row, int64_t place, LaneSum* load) {
  float noisy[kMaxRouterExperts];
  NoisyLogits(args, row, noisy);
  int32_t best[kMaxRouterChoices + 1];
  SelectLargest(noisy, args.experts, args.k + 1, best);
  const float with = noisy[best[args.k - 1]];  // k-th largest
  const float without = noisy[best[args.k]];   // of those who are among the k themselves
  for (int64_t i = 0; i < args.experts; ++i) {
    const int64_t at = row * args.experts + i;
    const float sigma = Softplus(args.noise_logits[at]) + args.convention->noise_epsilon;
    const bool is_chosen = std::find(best, best + args.k, i) != best + args.k;
    load[i].Add(place, NormalCdf((args.logits[at] - (is_chosen ? without : with)) / sigma));
  }
}

}  // namespace

void Importance(const int32_t* chosen, const float* weights, int64_t rows, int64_t k,
                int64_t experts, float* importance) {
  SetComputeThreadFloatMode();
  std::vector<LaneSum> sums(static_cast<size_t>(experts));
  for (int64_t at = 0; at < rows * k; ++at) {
    if (chosen[at] >= 0) sums[chosen[at]].Add(at / k, weights[at]);
  }
  for (int64_t i = 0; i < experts; ++i) importance[i] = sums[i].Total();
}

void NoisyLoad(const RouterArgs& args, float* load) {
  SetComputeThreadFloatMode();
  std::vector<LaneSum> sums(static_cast<size_t>(args.experts));
  int64_t place = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    const float max = MaxOrNan(args.logits + row * args.experts, args.experts);
    if (max != max) continue;
    if (args.k < args.experts) {
      AddLoadOfRow(args, row, place, sums.data());
    } else {
      for (LaneSum& sum : sums) sum.Add(place, 1.0f);
    }
    ++place;
  }
  for (int64_t i = 0; i < args.experts; ++i) load[i] = sums[i].Total();
}

float SquaredVariation(const float* values, int64_t count) {
  SetComputeThreadFloatMode();
  LaneSum sum;
  for (int64_t i = 0; i < count; ++i) sum.Add(i, values[i]);
  const float mean = sum.Total() / static_cast<float>(count);
  LaneSum squares;
  for (int64_t i = 0; i < count; ++i) squares.Add(i, (values[i] - mean) * (values[i] - mean));
  return squares.Total() / static_cast<float>(count) / (mean * mean + 1e-10f);
}

float NoisyTopKLoss(const RouterArgs& args, const int32_t* chosen, const float* weights) {
  std::vector<float> sums(static_cast<size_t>(args.experts));
  Importance(chosen, weights, args.rows, args.k, args.experts, sums.data());
  const float importance =
      args.convention->importance_coefficient * SquaredVariation(sums.data(), args.experts);
  if (args.noise == nullptr) return importance;
  NoisyLoad(args, sums.data());
  return importance +
         args.convention->load_coefficient * SquaredVariation(sums.data(), args.experts);
}

}  // namespace switchyard::kernels
