#pragma once

// From the weights of a row's choices before normalisation to those that are sent, the same on
// every device. Internal.

#include <algorithm>
#include <cstdint>

#include "kernels/base/lane_sum.h"
#include "kernels/router/convention.h"

namespace switchyard::kernels {

// weights[r] /= max(sum, floor) + added, where sum is the 16-lane sum over r.
constexpr void DivideBySum(float* weights, int64_t count, float floor, float added) {
  LaneSum lanes;
  for (int64_t r = 0; r < count; ++r) lanes.Add(r, weights[r]);
  const float sum = std::max(lanes.Total(), floor) + added;
  for (int64_t r = 0; r < count; ++r) weights[r] /= sum;
}

// Normalises, unless that comes after drops, and scales.
constexpr void Weigh(const RouterConvention& convention, int64_t k, float* weights) {
  if (convention.normalization == Normalization::kChosen) {
    DivideBySum(weights, k, convention.norm_floor, convention.norm_added);
  }
  if (convention.scale == 1.0f) return;
  for (int64_t r = 0; r < k; ++r) weights[r] *= convention.scale;
}

}  // namespace switchyard::kernels
