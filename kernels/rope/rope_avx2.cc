#include "kernels/rope/rope_impl.h"

namespace switchyard::kernels {

void RopeRowAvx2(float* x, int64_t heads, int64_t head_dim, float position,
                 const float* inverse_frequency, int64_t half, float attention_factor) {
  SWITCHYARD_SIMD::RotateRow(x, heads, head_dim, position, inverse_frequency, half,
                             attention_factor);
}

}  // namespace switchyard::kernels
