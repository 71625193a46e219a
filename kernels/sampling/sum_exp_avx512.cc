#include "kernels/sampling/sum_exp_impl.h"

namespace switchyard::kernels {

float SumExpBlockAvx512(const float* values, int64_t count, float max, float floor) {
  return SWITCHYARD_SIMD::SumBlock(values, count, max, floor);
}

}  // namespace switchyard::kernels
