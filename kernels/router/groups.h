#pragma once

// The limit to the best groups of experts, the same on every device. Internal.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/router/convention.h"

namespace switchyard::kernels {

// Of a group with these keys.
constexpr float ScoreOfGroup(GroupScore kind, const float* keys, int64_t size) {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  for (int64_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(best, keys[i]));
    best = std::max(best, keys[i]);
  }
  return kind == GroupScore::kMax ? best : best + second;
}

// The key of experts whose group lost.
constexpr float MaskedKey(const RouterConvention& convention) {
  // A probability of 0 is a logit of -inf.
  const bool zero =
      convention.masked_fill == MaskedFill::kZero && convention.scoring == Scoring::kSigmoid;
  return zero ? 0.0f : -std::numeric_limits<float>::infinity();
}

}  // namespace switchyard::kernels
