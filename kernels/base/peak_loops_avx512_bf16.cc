#include "kernels/base/peak_loops_impl.h"

namespace switchyard::kernels {
namespace SWITCHYARD_SIMD {

constexpr int kSums = 12;

float DotBf16Peak(int64_t iterations) {
  F32x16 sums[kSums];
#pragma GCC unroll 16
  for (F32x16& sum : sums) sum = F32x16(0.0f);
  const auto x = std::bit_cast<__m512bh>(_mm512_set1_epi32(0x3c003c00));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int s = 0; s < kSums; ++s) sums[s].all = _mm512_dpbf16_ps(sums[s].all, x, x);
  }
#pragma GCC unroll 16
  for (int s = 1; s < kSums; ++s) sums[0] = sums[0] + sums[s];
  return ReduceAdd(sums[0]);
}

}  // namespace SWITCHYARD_SIMD

const PeakLoop kDotBf16PeakAvx512Bf16 = {SWITCHYARD_SIMD::DotBf16Peak,
                                         SWITCHYARD_SIMD::kSums * 32 * 2};

}  // namespace switchyard::kernels
