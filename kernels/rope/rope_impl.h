// Rope at one CPU level: included by rope_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/rope/rope_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

SWITCHYARD_INLINE void RotateRow(float* x, int64_t heads, int64_t head_dim, float position,
                                 const float* inverse_frequency, int64_t half,
                                 float attention_factor) {
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t count = half - i < 16 ? half - i : 16;
    const F32x16 angle = F32x16(position) * LoadPartial(inverse_frequency + i, count);
    F32x16 sine, cosine;
    SinCos(angle, &sine, &cosine);
    sine = sine * F32x16(attention_factor);
    cosine = cosine * F32x16(attention_factor);
    for (int64_t head = 0; head < heads; ++head) {
      float* first = x + head * head_dim + i;
      float* second = first + half;
      if (count == 16) {
        const F32x16 a = Load(first), b = Load(second);
        Store(a * cosine - b * sine, first);
        Store(b * cosine + a * sine, second);
      } else {
        const F32x16 a = LoadPartial(first, count), b = LoadPartial(second, count);
        StorePartial(a * cosine - b * sine, first, count);
        StorePartial(b * cosine + a * sine, second, count);
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
