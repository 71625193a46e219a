#include "kernels/positions/positions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

TEST(AddPositionsTest, AddsTheRowOfEachPosition) {
  const int64_t width = 19, count = 30;
  const std::vector<float> table = RandomValues(count * width, 1);
  std::vector<uint16_t> narrow;
  for (float value : table) narrow.push_back(FloatToBf16(value));
  const std::vector<int64_t> positions = {29, 0, 3, 3};
  const std::vector<float> x = RandomValues(4 * width, 2);
  for (DType type : {DType::kFloat32, DType::kBfloat16}) {
    std::vector<float> expected = x, actual = x;
    for (int64_t row = 0; row < 4; ++row) {
      for (int64_t i = 0; i < width; ++i) {
        const float value = table[positions[row] * width + i];
        expected[row * width + i] += type == DType::kFloat32 ? value : RoundToBf16(value);
      }
    }
    const void* const stored = type == DType::kFloat32 ? static_cast<const void*>(table.data())
                                                       : static_cast<const void*>(narrow.data());
    AddPositions({.table = stored,
                  .type = type,
                  .width = width,
                  .positions = positions.data(),
                  .rows = 4,
                  .output = actual.data()});
    EXPECT_TRUE(SameBits(actual, expected));
  }
}

TEST(SinusoidalPositionsTest, SineAndCosineAlternate) {
  const int64_t width = 6;
  const Floats table = SinusoidalPositions(2048, width);
  for (int64_t i = 0; i < width; ++i) EXPECT_EQ(table[i], i % 2 == 0 ? 0.0f : 1.0f);
  for (int64_t t : {1, 17, 2047}) {
    EXPECT_EQ(table[t * width], static_cast<float>(std::sin(static_cast<double>(t))));
    EXPECT_NEAR(table[t * width + 2], std::sin(t / std::cbrt(10000.0)), 1e-7);
    EXPECT_NEAR(table[t * width + 5], std::cos(t / std::pow(std::cbrt(10000.0), 2)), 1e-7);
  }
}

}  // namespace
}  // namespace switchyard::kernels
