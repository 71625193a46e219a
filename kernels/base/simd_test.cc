#include "kernels/base/simd.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "kernels/base/simd_functions.h"
#include "kernels/base/test_levels.h"

namespace switchyard::kernels {
namespace {

TEST(Bf16Test, RoundsToNearestEven) {
  const auto rounded = [](uint32_t bits) { return FloatToBf16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(rounded(0x3f800000), 0x3f80);
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80);
  EXPECT_EQ(rounded(0x3f808000), 0x3f80);  // tie, to even
  EXPECT_EQ(rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded(0x3f818000), 0x3f82);  // tie, to even
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f80);  // rounds up to infinity
  EXPECT_EQ(rounded(0xff800000), 0xff80);
}

TEST(Bf16Test, SubnormalsBecomeZeroAndNanStaysNan) {
  EXPECT_EQ(FloatToBf16(1e-40f), 0);
  EXPECT_EQ(FloatToBf16(-1e-40f), 0x8000);
  EXPECT_TRUE(std::isnan(RoundToBf16(std::nanf(""))));
  // A payload only in the lower half must not turn into infinity.
  EXPECT_TRUE(std::isnan(RoundToBf16(std::bit_cast<float>(0x7f800001u))));
}

TEST(SimdTest, Bf16ConversionsEqualTheScalarOnesAtEveryLevel) {
  for (CpuLevel level : RunnableCpuLevels()) {
    const VectorFunctions& vector = VectorFunctionsFor(level);
    for (uint64_t first = 0; first < (uint64_t{1} << 32); first += 16 * 1021) {
      float x[16], widened[16], rounded[16];
      uint16_t packed[16];
      for (uint32_t i = 0; i < 16; ++i) {
        x[i] = std::bit_cast<float>(static_cast<uint32_t>(first) + i * 4093);
      }
      vector.store_bf16(x, packed);
      vector.load_bf16(packed, widened);
      vector.round_to_bf16(x, rounded);
      for (int i = 0; i < 16; ++i) {
        ASSERT_EQ(packed[i], FloatToBf16(x[i])) << Name(level) << " " << x[i];
        ASSERT_EQ(std::bit_cast<uint32_t>(widened[i]), uint32_t{packed[i]} << 16) << Name(level);
        ASSERT_EQ(std::bit_cast<uint32_t>(rounded[i]), uint32_t{packed[i]} << 16) << Name(level);
      }
    }
  }
}

TEST(SimdTest, ReduceAddIsTheTreeOverNeighbours) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  float x[16];
  for (float& value : x) value = normal(random);
  const float expected = (((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))) +
                         (((x[8] + x[9]) + (x[10] + x[11])) + ((x[12] + x[13]) + (x[14] + x[15])));
  for (CpuLevel level : RunnableCpuLevels()) {
    float sum = 0;
    VectorFunctionsFor(level).reduce_add(x, &sum);
    EXPECT_EQ(sum, expected) << Name(level);
  }
}

TEST(SimdTest, SwapPairsExchangesNeighbours) {
  float x[16], y[16];
  for (int i = 0; i < 16; ++i) x[i] = static_cast<float>(i);
  for (CpuLevel level : RunnableCpuLevels()) {
    VectorFunctionsFor(level).swap_pairs(x, y);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(y[i], x[i ^ 1]) << Name(level);
  }
}

TEST(SimdTest, PartialLoadsAndStoresTouchOnlyTheirElements) {
  namespace simd = SWITCHYARD_SIMD;
  float values[16], lanes[16];
  for (int i = 0; i < 16; ++i) values[i] = static_cast<float>(i + 1);
  for (int count = 1; count <= 16; ++count) {
    simd::Store(simd::LoadPartial(values, count, -1.0f), lanes);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(lanes[i], i < count ? values[i] : -1.0f);
    float stored[16] = {};
    simd::StorePartial(simd::Load(values), stored, count);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(stored[i], i < count ? values[i] : 0.0f);
  }
}

}  // namespace
}  // namespace switchyard::kernels
