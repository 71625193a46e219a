#pragma once

// The mask of Phi-3.5's router, the same on every device. Internal.

#include <algorithm>

namespace switchyard::kernels {

// Too far below the maximum to take part. The divisor is the larger of |logit| and the maximum as
// it is, so for a logit of -inf (and 0 against 0) the quotient is NaN: that takes part and adds 0.
constexpr bool IsMaskedByMixer(float logit, float max, float threshold) {
  const float magnitude = logit < 0.0f ? -logit : logit;
  return (max - logit) / std::max(magnitude, max) > threshold;
}

}  // namespace switchyard::kernels
