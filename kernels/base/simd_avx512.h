#pragma once

// simd.h for AVX-512 (F, BW, DQ, VL): one register of sixteen lanes. Included by simd.h only.

#if !defined(SWITCHYARD_SIMD_EMULATED)
#include <immintrin.h>
#endif

namespace switchyard::kernels::SWITCHYARD_SIMD {

struct F32x16 {
  __m512 all;

  F32x16() = default;
  SWITCHYARD_INLINE F32x16(__m512 value) : all(value) {}
  SWITCHYARD_INLINE explicit F32x16(float value) : all(_mm512_set1_ps(value)) {}
};

struct I32x16 {
  __m512i all;

  I32x16() = default;
  SWITCHYARD_INLINE I32x16(__m512i value) : all(value) {}
  SWITCHYARD_INLINE explicit I32x16(int32_t value) : all(_mm512_set1_epi32(value)) {}
};

struct Mask16 {
  __mmask16 all;
};

SWITCHYARD_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return _mm512_add_ps(a.all, b.all); }
SWITCHYARD_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return _mm512_sub_ps(a.all, b.all); }
SWITCHYARD_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return _mm512_mul_ps(a.all, b.all); }
SWITCHYARD_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return _mm512_div_ps(a.all, b.all); }
SWITCHYARD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return _mm512_fmadd_ps(a.all, b.all, c.all);
}
SWITCHYARD_INLINE void MultiplyAdd(F32x16 a, F32x16 b, F32x16& sum) { sum = Fma(a, b, sum); }
SWITCHYARD_INLINE F32x16 Sqrt(F32x16 a) { return _mm512_sqrt_ps(a.all); }
SWITCHYARD_INLINE F32x16 RoundToInteger(F32x16 a) {
  return _mm512_roundscale_ps(a.all, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// Of two equal or unordered values the second, as `x < y ? x : y`.
SWITCHYARD_INLINE F32x16 Min(F32x16 a, F32x16 b) { return _mm512_min_ps(a.all, b.all); }
SWITCHYARD_INLINE F32x16 Max(F32x16 a, F32x16 b) { return _mm512_max_ps(a.all, b.all); }

SWITCHYARD_INLINE I32x16 operator+(I32x16 a, I32x16 b) { return _mm512_add_epi32(a.all, b.all); }
SWITCHYARD_INLINE I32x16 operator-(I32x16 a, I32x16 b) { return _mm512_sub_epi32(a.all, b.all); }
SWITCHYARD_INLINE I32x16 operator&(I32x16 a, I32x16 b) { return _mm512_and_si512(a.all, b.all); }
SWITCHYARD_INLINE I32x16 operator^(I32x16 a, I32x16 b) { return _mm512_xor_si512(a.all, b.all); }
template <int n>
SWITCHYARD_INLINE I32x16 ShiftLeft(I32x16 a) {
  return _mm512_slli_epi32(a.all, n);
}
template <int n>
SWITCHYARD_INLINE I32x16 ShiftRight(I32x16 a) {
  return _mm512_srai_epi32(a.all, n);
}
SWITCHYARD_INLINE I32x16 ToInt(F32x16 a) { return _mm512_cvttps_epi32(a.all); }
SWITCHYARD_INLINE F32x16 ToFloat(I32x16 a) { return _mm512_cvtepi32_ps(a.all); }
SWITCHYARD_INLINE I32x16 Bits(F32x16 a) { return _mm512_castps_si512(a.all); }
SWITCHYARD_INLINE F32x16 FromBits(I32x16 a) { return _mm512_castsi512_ps(a.all); }

SWITCHYARD_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.all, b.all, _CMP_LT_OQ)};
}
SWITCHYARD_INLINE Mask16 operator<=(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.all, b.all, _CMP_LE_OQ)};
}
SWITCHYARD_INLINE Mask16 operator==(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.all, b.all, _CMP_EQ_OQ)};
}
SWITCHYARD_INLINE Mask16 NonZero(I32x16 a) { return {_mm512_test_epi32_mask(a.all, a.all)}; }
SWITCHYARD_INLINE uint32_t ToBitmap(Mask16 m) { return m.all; }
SWITCHYARD_INLINE F32x16 Select(Mask16 m, F32x16 a, F32x16 b) {
  return _mm512_mask_blend_ps(m.all, b.all, a.all);
}

// Lanes 2i and 2i + 1 change places.
SWITCHYARD_INLINE F32x16 SwapPairs(F32x16 a) {
  return _mm512_shuffle_ps(a.all, a.all, _MM_SHUFFLE(2, 3, 0, 1));
}

SWITCHYARD_INLINE F32x16 Load(const float* p) { return _mm512_loadu_ps(p); }
SWITCHYARD_INLINE void Store(F32x16 a, float* p) { _mm512_storeu_ps(p, a.all); }
SWITCHYARD_INLINE I32x16 LoadInt(const void* p) { return _mm512_loadu_si512(p); }
SWITCHYARD_INLINE F32x16 LoadBf16(const uint16_t* p) {
  const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(packed), 16));
}
// FloatToBf16 in the lower 16 bits of each lane.
SWITCHYARD_INLINE __m512i RoundLanesToBf16(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i upper = _mm512_srli_epi32(bits, 16);
  const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
  rounded = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
  const __mmask16 subnormal = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(0x00800000), magnitude);
  return _mm512_mask_and_epi32(rounded, subnormal, upper, _mm512_set1_epi32(0x8000));
}
SWITCHYARD_INLINE void StoreBf16(F32x16 a, uint16_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(RoundLanesToBf16(a.all)));
}
SWITCHYARD_INLINE F32x16 RoundToBf16(F32x16 a) {
  return FromBits(ShiftLeft<16>(I32x16(RoundLanesToBf16(a.all))));
}
SWITCHYARD_INLINE F32x16 LowerBf16(I32x16 pairs) { return FromBits(ShiftLeft<16>(pairs)); }
SWITCHYARD_INLINE F32x16 UpperBf16(I32x16 pairs) {
  return FromBits(pairs & I32x16(static_cast<int32_t>(0xffff0000u)));
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
