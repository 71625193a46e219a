#pragma once

// Included by peak_loops_<level>.cc, compiled with the options of the level.

#include "kernels/base/peak_loops.h"
#include "kernels/base/simd.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

// `kSums` independent chains: enough to fill the pipelines, few enough for the registers.
template <int kSums>
float FmaPeak(int64_t iterations) {
  F32x16 sums[kSums];
#pragma GCC unroll 16
  for (F32x16& sum : sums) sum = F32x16(0.0f);
  const F32x16 x(0.5f);
  const F32x16 w(1.0f / static_cast<float>(iterations));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int s = 0; s < kSums; ++s) MultiplyAdd(x, w, sums[s]);
  }
#pragma GCC unroll 16
  for (int s = 1; s < kSums; ++s) sums[0] = sums[0] + sums[s];
  return ReduceAdd(sums[0]);
}

template <int kSums>
inline constexpr PeakLoop kFmaPeak = {FmaPeak<kSums>, kSums * 16 * 2};

inline int32_t ReadLines(const void* data, int64_t lines) {
  constexpr int64_t kLine = 64;
  const char* line = static_cast<const char*>(data);
  I32x16 a(0), b(0), c(0), d(0);
  for (int64_t i = 0; i + 4 <= lines; i += 4, line += 4 * kLine) {
    a = a ^ LoadInt(line);
    b = b ^ LoadInt(line + kLine);
    c = c ^ LoadInt(line + 2 * kLine);
    d = d ^ LoadInt(line + 3 * kLine);
  }
  return static_cast<int32_t>(ToBitmap(NonZero(a ^ b ^ c ^ d)));
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
