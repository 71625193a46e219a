#include "services/model/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace switchyard::model {
namespace {

// The format's definition by cases, in fp64.
double E4m3(int bits) {
  const double sign = bits & 128 ? -1 : 1;
  const int exponent = (bits >> 3) & 15;
  const double fraction = (bits & 7) / 8.0;
  if (exponent == 0) return sign * fraction * std::pow(2.0, -6);
  return sign * (1 + fraction) * std::pow(2.0, exponent - 7);
}

std::vector<uint8_t> RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST(DequantizeTest, EveryFp8Number) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = Fp8E4m3ToFloat(static_cast<uint8_t>(bits));
    if ((bits & 127) == 127) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(value, E4m3(bits)) << bits;
      EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
    }
  }
  EXPECT_EQ(Fp8E4m3ToFloat(0x7e), 448.0f);
  EXPECT_EQ(Fp8E4m3ToFloat(0x01), std::ldexp(1.0f, -9));
}

// 300 x 200 has three by two blocks, ragged on both sides. Any cut of the rows gives the same.
TEST(DequantizeTest, Fp8BlocksCountFromTheOrigin) {
  constexpr int64_t kRows = 300, kColumns = 200;
  std::vector<uint8_t> weights = RandomBytes(kRows * kColumns, 1);
  for (uint8_t& weight : weights) weight &= 0xbf;  // no NaN
  std::vector<float> scales;
  for (int i = 0; i < 6; ++i) scales.push_back(0.25f + static_cast<float>(i));
  for (const int64_t piece : {int64_t{1}, int64_t{7}, int64_t{128}, int64_t{130}, kRows}) {
    for (int64_t first = 0; first < kRows; first += piece) {
      const int64_t rows = std::min(piece, kRows - first);
      std::vector<float> values(static_cast<size_t>(rows * kColumns));
      DequantizeFp8(weights.data() + first * kColumns, scales.data() + first / 128 * 2, first, rows,
                    kColumns, values.data());
      for (int64_t row = first; row < first + rows; ++row) {
        for (int64_t column = 0; column < kColumns; ++column) {
          const auto expected =
              static_cast<float>(E4m3(weights[static_cast<size_t>(row * kColumns + column)]) *
                                 scales[static_cast<size_t>(row / 128 * 2 + column / 128)]);
          ASSERT_EQ(values[static_cast<size_t>((row - first) * kColumns + column)], expected)
              << row << ", " << column;
        }
      }
    }
  }
}

TEST(DequantizeTest, Mxfp4LowNibbleFirst) {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  constexpr int64_t kRows = 3, kColumns = 96;
  const std::vector<uint8_t> blocks = RandomBytes(kRows * kColumns / 2, 2);
  const std::vector<uint8_t> scales = {127, 0, 254, 120, 130, 126, 1, 128, 100};
  std::vector<float> values(kRows * kColumns);
  DequantizeMxfp4(blocks.data(), scales.data(), kRows, kColumns, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const int nibble = i % 2 == 0 ? blocks[i / 2] & 15 : blocks[i / 2] >> 4;
    const double magnitude = kMagnitudes[nibble & 7] * std::pow(2.0, scales[i / 32] - 127);
    EXPECT_EQ(values[i], static_cast<float>(nibble & 8 ? -magnitude : magnitude)) << i;
  }
}

}  // namespace
}  // namespace switchyard::model
