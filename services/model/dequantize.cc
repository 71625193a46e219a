#include "services/model/dequantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace switchyard::model {
namespace {

std::array<float, 256> Fp8Table() {
  std::array<float, 256> table;
  for (size_t bits = 0; bits < table.size(); ++bits) {
    table[bits] = Fp8E4m3ToFloat(static_cast<uint8_t>(bits));
  }
  return table;
}

constexpr std::array<float, 16> kFp4 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                        -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

}  // namespace

float Fp8E4m3ToFloat(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  float magnitude;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }
  return bits < 128 ? magnitude : -magnitude;
}

void DequantizeFp8(const uint8_t* weights, const float* scales, int64_t first_row, int64_t rows,
                   int64_t columns, float* values) {
  static const std::array<float, 256> table = Fp8Table();
  const int64_t first_block = first_row / kFp8Block;
  for (int64_t row = 0; row < rows; ++row) {
    const float* grid = scales + ((first_row + row) / kFp8Block - first_block) * Fp8Blocks(columns);
    for (int64_t begin = 0; begin < columns; begin += kFp8Block) {
      const float scale = grid[begin / kFp8Block];
      const int64_t end = std::min(columns, begin + kFp8Block);
      for (int64_t column = begin; column < end; ++column) {
        values[row * columns + column] = table[weights[row * columns + column]] * scale;
      }
    }
  }
}

void DequantizeMxfp4(const uint8_t* blocks, const uint8_t* scales, int64_t rows, int64_t columns,
                     float* values) {
  const int64_t count = rows * columns / kMxfp4Block;
  for (int64_t block = 0; block < count; ++block) {
    const float scale = std::ldexp(1.0f, scales[block] - 127);
    for (int64_t i = 0; i < kMxfp4Block / 2; ++i) {
      const uint8_t pair = blocks[block * kMxfp4Block / 2 + i];
      values[block * kMxfp4Block + 2 * i] = kFp4[pair & 15] * scale;
      values[block * kMxfp4Block + 2 * i + 1] = kFp4[pair >> 4] * scale;
    }
  }
}

}  // namespace switchyard::model
