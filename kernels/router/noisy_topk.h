#pragma once

// Pieces of noisy top-k that its load loss needs too. Internal.

#include <cstdint>

#include "kernels/router/router.h"

namespace switchyard::kernels {

// log(1 + exp(x)).
float Softplus(float x);

// noisy[experts] = logits + noise * (Softplus(noise_logits) + noise_epsilon) of one row; the logits
// alone without noise.
void NoisyLogits(const RouterArgs& args, int64_t row, float* noisy);

}  // namespace switchyard::kernels
