#include "kernels/rmsnorm/rmsnorm_impl.h"

namespace switchyard::kernels {

void RmsNormRowAvx512(const float* x, const float* weight, int64_t width, float epsilon,
                      DType output_type, void* y) {
  SWITCHYARD_SIMD::NormalizeRow(x, weight, width, epsilon, output_type, y);
}

}  // namespace switchyard::kernels
