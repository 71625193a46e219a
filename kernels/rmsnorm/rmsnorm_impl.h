// RmsNorm at one CPU level: included by rmsnorm_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/rmsnorm/rmsnorm_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

SWITCHYARD_INLINE float SumOfSquares(const float* x, int64_t width) {
  F32x16 sum(0.0f);
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const F32x16 value = Load(x + i);
    sum = Fma(value, value, sum);
  }
  if (i < width) {
    const F32x16 value = LoadPartial(x + i, width - i);
    sum = Fma(value, value, sum);
  }
  return ReduceAdd(sum);
}

SWITCHYARD_INLINE void NormalizeRow(const float* x, const float* weight, int64_t width,
                                    float epsilon, DType output_type, void* y) {
  const F32x16 scale(Rsqrt(SumOfSquares(x, width) / static_cast<float>(width) + epsilon));
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const F32x16 value = Load(x + i) * scale * Load(weight + i);
    if (output_type == DType::kFloat32) {
      Store(value, static_cast<float*>(y) + i);
    } else {
      StoreBf16(value, static_cast<uint16_t*>(y) + i);
    }
  }
  if (i == width) return;
  const F32x16 value = LoadPartial(x + i, width - i) * scale * LoadPartial(weight + i, width - i);
  if (output_type == DType::kFloat32) {
    StorePartial(value, static_cast<float*>(y) + i, width - i);
  } else {
    StoreBf16Partial(value, static_cast<uint16_t*>(y) + i, width - i);
  }
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
