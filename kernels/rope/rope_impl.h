// Rope at one CPU level: included by rope_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/base/simd.h"
#include "kernels/rope/rope_kernel.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

// Sine and cosine of frequencies [i, i + count), times the attention factor.
SWITCHYARD_INLINE void Turn(const RopeRow& row, int64_t i, int64_t count, F32x16* sine,
                            F32x16* cosine) {
  const F32x16 angle = F32x16(row.position) * LoadPartial(row.inverse_frequency + i, count);
  SinCos(angle, sine, cosine);
  *sine = *sine * F32x16(row.attention_factor);
  *cosine = *cosine * F32x16(row.attention_factor);
}

void RotateHalfSplit(const RopeRow& row) {
  for (int64_t i = 0; i < row.half; i += 16) {
    const int64_t count = row.half - i < 16 ? row.half - i : 16;
    F32x16 sine, cosine;
    Turn(row, i, count, &sine, &cosine);
    for (int64_t head = 0; head < row.heads; ++head) {
      float* first = row.x + head * row.head_dim + i;
      float* second = first + row.half;
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

// Eight pairs lie in a vector. With the sine's sign changed for the first of each pair, both
// results are x * cosine + other * sine: a product's sign does not touch its rounding.
void RotateInterleaved(const RopeRow& row) {
  for (int64_t i = 0; i < row.half; i += 8) {
    const int64_t pairs = row.half - i < 8 ? row.half - i : 8;
    F32x16 sine, cosine;
    Turn(row, i, pairs, &sine, &cosine);
    float s[16], c[16], sines[16], cosines[16];
    Store(sine, s);
    Store(cosine, c);
    for (int p = 0; p < 8; ++p) {
      sines[2 * p] = -s[p];
      sines[2 * p + 1] = s[p];
      cosines[2 * p] = cosines[2 * p + 1] = c[p];
    }
    sine = Load(sines);
    cosine = Load(cosines);
    for (int64_t head = 0; head < row.heads; ++head) {
      float* const x = row.x + head * row.head_dim + 2 * i;
      if (pairs == 8) {
        const F32x16 value = Load(x);
        Store(value * cosine + SwapPairs(value) * sine, x);
      } else {
        const F32x16 value = LoadPartial(x, 2 * pairs);
        StorePartial(value * cosine + SwapPairs(value) * sine, x, 2 * pairs);
      }
    }
  }
}

constexpr RopeKernel kKernel = {RotateHalfSplit, RotateInterleaved};

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
