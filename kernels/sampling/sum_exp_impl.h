// SumExp at one CPU level: included by sum_exp_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/sampling/sum_exp_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

SWITCHYARD_INLINE F32x16 ExpFrom(F32x16 value, F32x16 max, F32x16 floor) {
  return Select(floor <= value, Exp(value - max), F32x16(0.0f));
}

SWITCHYARD_INLINE float SumBlock(const float* values, int64_t count, float max, float floor) {
  F32x16 sum(0.0f);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    sum = sum + ExpFrom(Load(values + i), F32x16(max), F32x16(floor));
  }
  if (i < count) {
    const F32x16 rest = LoadPartial(values + i, count - i, -__builtin_inff());
    sum = sum + ExpFrom(rest, F32x16(max), F32x16(floor));
  }
  return ReduceAdd(sum);
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
