// The AVX-512 form of the vectors, emulated, against the scalar functions.

#include "kernels/base/simd_emulated.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "kernels/base/math.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {
namespace {

namespace simd = SWITCHYARD_SIMD;

bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

TEST(SimdEmulatedTest, Avx512FunctionsGiveTheBitsOfTheScalarForm) {
  SetComputeThreadFloatMode();
  for (uint64_t first = 0; first < (uint64_t{1} << 32); first += 65537 * 16) {
    float x[16], exp[16], log[16], silu[16], sine[16], cosine[16];
    float swapped[16];
    uint16_t packed[16];
    for (uint32_t i = 0; i < 16; ++i) {
      x[i] = std::bit_cast<float>(static_cast<uint32_t>(first) + i * 65537);
    }
    simd::Store(simd::Exp(simd::Load(x)), exp);
    simd::Store(simd::Log(simd::Load(x)), log);
    simd::Store(simd::Silu(simd::Load(x)), silu);
    simd::F32x16 s, c;
    simd::SinCos(simd::Load(x), &s, &c);
    simd::Store(s, sine);
    simd::Store(c, cosine);
    simd::StoreBf16(simd::Load(x), packed);
    simd::Store(simd::SwapPairs(simd::Load(x)), swapped);
    for (int i = 0; i < 16; ++i) {
      ASSERT_TRUE(SameBits(exp[i], Exp(x[i]))) << x[i];
      ASSERT_TRUE(SameBits(log[i], Log(x[i]))) << x[i];
      ASSERT_TRUE(SameBits(silu[i], Silu(x[i]))) << x[i];
      float expected_sine, expected_cosine;
      SinCos(x[i], &expected_sine, &expected_cosine);
      ASSERT_TRUE(SameBits(sine[i], expected_sine)) << x[i];
      ASSERT_TRUE(SameBits(cosine[i], expected_cosine)) << x[i];
      ASSERT_EQ(packed[i], FloatToBf16(x[i])) << x[i];
      ASSERT_TRUE(SameBits(swapped[i], x[i ^ 1])) << x[i];
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
