#pragma once

// simd.h for AVX2 + FMA: two registers of eight lanes. Included by simd.h only.

#include <immintrin.h>

namespace switchyard::kernels::SWITCHYARD_SIMD {

struct F32x16 {
  __m256 lo, hi;

  F32x16() = default;
  SWITCHYARD_INLINE F32x16(__m256 low, __m256 high) : lo(low), hi(high) {}
  SWITCHYARD_INLINE explicit F32x16(float value)
      : lo(_mm256_set1_ps(value)), hi(_mm256_set1_ps(value)) {}
};

struct I32x16 {
  __m256i lo, hi;

  I32x16() = default;
  SWITCHYARD_INLINE I32x16(__m256i low, __m256i high) : lo(low), hi(high) {}
  SWITCHYARD_INLINE explicit I32x16(int32_t value)
      : lo(_mm256_set1_epi32(value)), hi(_mm256_set1_epi32(value)) {}
};

struct Mask16 {
  __m256 lo, hi;
};

SWITCHYARD_INLINE F32x16 operator+(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
SWITCHYARD_INLINE F32x16 operator-(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
SWITCHYARD_INLINE F32x16 operator*(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
SWITCHYARD_INLINE F32x16 operator/(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
SWITCHYARD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
// sum = Fma(a, b, sum), in place: left to itself gcc rotates the registers of a large block of sums
// until it runs out of them.
SWITCHYARD_INLINE void MultiplyAdd(F32x16 a, F32x16 b, F32x16& sum) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(sum.lo) : "x"(a.lo), "x"(b.lo));
  asm("vfmadd231ps %2, %1, %0" : "+x"(sum.hi) : "x"(a.hi), "x"(b.hi));
}
SWITCHYARD_INLINE F32x16 Sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
SWITCHYARD_INLINE F32x16 RoundToInteger(F32x16 a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
// Of two equal or unordered values the second, as `x < y ? x : y`.
SWITCHYARD_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
SWITCHYARD_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

SWITCHYARD_INLINE I32x16 operator+(I32x16 a, I32x16 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
SWITCHYARD_INLINE I32x16 operator-(I32x16 a, I32x16 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
SWITCHYARD_INLINE I32x16 operator&(I32x16 a, I32x16 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
SWITCHYARD_INLINE I32x16 operator^(I32x16 a, I32x16 b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
template <int n>
SWITCHYARD_INLINE I32x16 ShiftLeft(I32x16 a) {
  return {_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
}
template <int n>
SWITCHYARD_INLINE I32x16 ShiftRight(I32x16 a) {
  return {_mm256_srai_epi32(a.lo, n), _mm256_srai_epi32(a.hi, n)};
}
SWITCHYARD_INLINE I32x16 ToInt(F32x16 a) {
  return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)};
}
SWITCHYARD_INLINE F32x16 ToFloat(I32x16 a) {
  return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
SWITCHYARD_INLINE I32x16 Bits(F32x16 a) {
  return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
SWITCHYARD_INLINE F32x16 FromBits(I32x16 a) {
  return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}

SWITCHYARD_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
SWITCHYARD_INLINE Mask16 operator<=(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ)};
}
SWITCHYARD_INLINE Mask16 operator==(F32x16 a, F32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)};
}
SWITCHYARD_INLINE Mask16 NonZero(I32x16 a) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi32(-1);
  const auto non_zero = [&](__m256i x) {
    return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_cmpeq_epi32(x, zero), ones));
  };
  return {non_zero(a.lo), non_zero(a.hi)};
}
SWITCHYARD_INLINE uint32_t ToBitmap(Mask16 m) {
  return static_cast<uint32_t>(_mm256_movemask_ps(m.lo)) |
         static_cast<uint32_t>(_mm256_movemask_ps(m.hi)) << 8;
}
SWITCHYARD_INLINE F32x16 Select(Mask16 m, F32x16 a, F32x16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}

// Lanes 2i and 2i + 1 change places.
SWITCHYARD_INLINE F32x16 SwapPairs(F32x16 a) {
  constexpr int kOrder = _MM_SHUFFLE(2, 3, 0, 1);
  return {_mm256_permute_ps(a.lo, kOrder), _mm256_permute_ps(a.hi, kOrder)};
}

SWITCHYARD_INLINE F32x16 Load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SWITCHYARD_INLINE void Store(F32x16 a, float* p) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
SWITCHYARD_INLINE I32x16 LoadInt(const void* p) {
  const __m256i* words = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
}
SWITCHYARD_INLINE F32x16 LoadBf16(const uint16_t* p) {
  const auto widen = [](const uint16_t* half) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
  };
  return {widen(p), widen(p + 8)};
}
// FloatToBf16 in the lower 16 bits of each lane.
SWITCHYARD_INLINE __m256i RoundLanesToBf16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i upper = _mm256_srli_epi32(bits, 16);
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
  const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
  const __m256i subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
  const __m256i zero = _mm256_and_si256(upper, _mm256_set1_epi32(0x8000));
  return _mm256_blendv_epi8(_mm256_blendv_epi8(rounded, quiet, nan), zero, subnormal);
}
SWITCHYARD_INLINE void StoreBf16(F32x16 a, uint16_t* p) {
  const __m256i packed = _mm256_packus_epi32(RoundLanesToBf16(a.lo), RoundLanesToBf16(a.hi));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)));
}
SWITCHYARD_INLINE F32x16 RoundToBf16(F32x16 a) {
  return FromBits(ShiftLeft<16>(I32x16(RoundLanesToBf16(a.lo), RoundLanesToBf16(a.hi))));
}
SWITCHYARD_INLINE F32x16 LowerBf16(I32x16 pairs) { return FromBits(ShiftLeft<16>(pairs)); }
SWITCHYARD_INLINE F32x16 UpperBf16(I32x16 pairs) {
  return FromBits(pairs & I32x16(static_cast<int32_t>(0xffff0000u)));
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
