// LayerNorm at one CPU level: included by layernorm_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/layernorm/layernorm_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

SWITCHYARD_INLINE float Sum(const float* x, int64_t width) {
  F32x16 sum(0.0f);
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) sum = sum + Load(x + i);
  if (i < width) sum = sum + LoadPartial(x + i, width - i);
  return ReduceAdd(sum);
}

SWITCHYARD_INLINE float SumOfSquares(const float* x, int64_t width, float mean) {
  F32x16 sum(0.0f);
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const F32x16 distance = Load(x + i) - F32x16(mean);
    sum = Fma(distance, distance, sum);
  }
  if (i < width) {
    // Filled up with the mean, whose distance adds nothing.
    const F32x16 distance = LoadPartial(x + i, width - i, mean) - F32x16(mean);
    sum = Fma(distance, distance, sum);
  }
  return ReduceAdd(sum);
}

SWITCHYARD_INLINE void StoreSome(F32x16 value, DType type, void* y, int64_t begin, int64_t count) {
  if (type == DType::kFloat32) {
    float* const to = static_cast<float*>(y) + begin;
    count == 16 ? Store(value, to) : StorePartial(value, to, count);
  } else {
    uint16_t* const to = static_cast<uint16_t*>(y) + begin;
    count == 16 ? StoreBf16(value, to) : StoreBf16Partial(value, to, count);
  }
}

SWITCHYARD_INLINE void NormalizeRow(const LayerNormArgs& args, int64_t row) {
  const int64_t width = args.width, begin = row * width;
  const float* const x = args.x + begin;
  const float mean = Sum(x, width) / static_cast<float>(width);
  const float variance = SumOfSquares(x, width, mean) / static_cast<float>(width);
  const F32x16 center(mean), scale(Rsqrt(variance + args.epsilon));
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const F32x16 value =
        (Load(x + i) - center) * scale * Load(args.weight + i) + Load(args.bias + i);
    StoreSome(value, args.output_type, args.y, begin + i, 16);
  }
  if (i == width) return;
  const int64_t rest = width - i;
  const F32x16 value =
      (LoadPartial(x + i, rest) - center) * scale * LoadPartial(args.weight + i, rest) +
      LoadPartial(args.bias + i, rest);
  StoreSome(value, args.output_type, args.y, begin + i, rest);
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
