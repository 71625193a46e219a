#pragma once

#include <cstdint>

namespace switchyard::kernels {

// All heads of one row of RopeArgs at one CPU level. `half`: number of frequencies.
using RopeRow = void(float* x, int64_t heads, int64_t head_dim, float position,
                     const float* inverse_frequency, int64_t half, float attention_factor);

RopeRow RopeRowScalar, RopeRowAvx2, RopeRowAvx512;

}  // namespace switchyard::kernels
