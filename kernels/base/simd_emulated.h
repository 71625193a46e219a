#pragma once

// Builds the AVX-512 level from SIMDe's portable forms of the intrinsics, under a name of its own,
// so that a machine without AVX-512 can test that source. Test only; include it before simd.h.

#include <immintrin.h>
#include <simde/x86/avx512.h>

#define SWITCHYARD_SIMD simd_avx512_emulated
#define SWITCHYARD_SIMD_AVX512 1
#define SWITCHYARD_SIMD_EMULATED 1

namespace switchyard::kernels::emulated {

// Conversions that SIMDe 0.7 lacks.

inline simde__m512i cvttps_epi32(simde__m512 a) {
  alignas(64) float from[16];
  alignas(64) int32_t to[16];
  simde_mm512_store_ps(from, a);
  for (int i = 0; i < 16; ++i) {
    // Out of range the instruction gives the most negative integer.
    to[i] = from[i] >= -2147483648.0f && from[i] < 2147483648.0f ? static_cast<int32_t>(from[i])
                                                                 : INT32_MIN;
  }
  return simde_mm512_load_si512(to);
}

inline simde__m512 cvtepi32_ps(simde__m512i a) {
  alignas(64) int32_t from[16];
  alignas(64) float to[16];
  simde_mm512_store_si512(from, a);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<float>(from[i]);
  return simde_mm512_load_ps(to);
}

inline simde__m512i srai_epi32(simde__m512i a, int count) {
  alignas(64) int32_t lanes[16];
  simde_mm512_store_si512(lanes, a);
  for (int32_t& lane : lanes) lane >>= count;
  return simde_mm512_load_si512(lanes);
}

inline __m256i cvtepi32_epi16(simde__m512i a) {
  alignas(64) int32_t from[16];
  alignas(32) int16_t to[16];
  simde_mm512_store_si512(from, a);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<int16_t>(from[i]);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(to));
}

inline simde__m512i cvtepu16_epi32(__m256i a) {
  alignas(32) uint16_t from[16];
  alignas(64) int32_t to[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(from), a);
  for (int i = 0; i < 16; ++i) to[i] = from[i];
  return simde_mm512_load_si512(to);
}

// VDPBF16PS: the odd product first.
inline simde__m512 dpbf16_ps(simde__m512 sum, simde__m512i a, simde__m512i b) {
  const auto odd = [](simde__m512i pairs) {
    return simde_mm512_castsi512_ps(
        simde_mm512_and_si512(pairs, simde_mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  };
  const auto even = [](simde__m512i pairs) {
    return simde_mm512_castsi512_ps(simde_mm512_slli_epi32(pairs, 16));
  };
  sum = simde_mm512_fmadd_ps(odd(a), odd(b), sum);
  return simde_mm512_fmadd_ps(even(a), even(b), sum);
}

}  // namespace switchyard::kernels::emulated

#define __m512 simde__m512
#define __m512i simde__m512i
#define __m512bh simde__m512i
#define __mmask16 simde__mmask16
#define _mm512_cvtepi32_epi16 ::switchyard::kernels::emulated::cvtepi32_epi16
#define _mm512_cvtepi32_ps ::switchyard::kernels::emulated::cvtepi32_ps
#define _mm512_cvtepu16_epi32 ::switchyard::kernels::emulated::cvtepu16_epi32
#define _mm512_cvttps_epi32 ::switchyard::kernels::emulated::cvttps_epi32
#define _mm512_srai_epi32 ::switchyard::kernels::emulated::srai_epi32
#define _mm512_dpbf16_ps ::switchyard::kernels::emulated::dpbf16_ps
#define _mm512_add_epi32 simde_mm512_add_epi32
#define _mm512_add_ps simde_mm512_add_ps
#define _mm512_and_si512 simde_mm512_and_si512
#define _mm512_castps_si512 simde_mm512_castps_si512
#define _mm512_castsi512_ps simde_mm512_castsi512_ps
#define _mm512_cmp_ps_mask simde_mm512_cmp_ps_mask
#define _mm512_cmpgt_epi32_mask simde_mm512_cmpgt_epi32_mask
#define _mm512_div_ps simde_mm512_div_ps
#define _mm512_fmadd_ps simde_mm512_fmadd_ps
#define _mm512_loadu_ps simde_mm512_loadu_ps
#define _mm512_loadu_si512 simde_mm512_loadu_si512
#define _mm512_mask_and_epi32 simde_mm512_mask_and_epi32
#define _mm512_mask_blend_ps simde_mm512_mask_blend_ps
#define _mm512_mask_or_epi32 simde_mm512_mask_or_epi32
#define _mm512_max_ps simde_mm512_max_ps
#define _mm512_min_ps simde_mm512_min_ps
#define _mm512_mul_ps simde_mm512_mul_ps
#define _mm512_roundscale_ps simde_mm512_roundscale_ps
#define _mm512_set1_epi32 simde_mm512_set1_epi32
#define _mm512_set1_ps simde_mm512_set1_ps
#define _mm512_shuffle_ps simde_mm512_shuffle_ps
#define _mm512_slli_epi32 simde_mm512_slli_epi32
#define _mm512_sqrt_ps simde_mm512_sqrt_ps
#define _mm512_srli_epi32 simde_mm512_srli_epi32
#define _mm512_storeu_ps simde_mm512_storeu_ps
#define _mm512_sub_epi32 simde_mm512_sub_epi32
#define _mm512_sub_ps simde_mm512_sub_ps
#define _mm512_test_epi32_mask simde_mm512_test_epi32_mask
#define _mm512_xor_si512 simde_mm512_xor_si512

// Behind the names, so that they mean the emulation there.
#include "kernels/base/simd.h"
