#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/memory.h"
#include "kernels/rope/rope.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

RopeTable Table(int64_t half, float attention_factor) {
  RopeTable table{.attention_factor = attention_factor};
  for (int64_t i = 0; i < half; ++i) {
    table.inverse_frequency.push_back(std::pow(10000.0f, -static_cast<float>(i) / half));
  }
  return table;
}

struct Case {
  int64_t rows, heads, head_dim, half;
  float attention_factor;
  bool interleaved = false;
};

// Positions beyond 2^24, whose angles are NaN, too.
TEST(RopeSimtTest, EqualsTheReference) {
  for (const Case c : {Case{1, 1, 2, 1, 1}, Case{3, 2, 16, 8, 1}, Case{19, 3, 128, 64, 1.25f},
                       Case{5, 1, 80, 20, 1}, Case{4, 2, 256, 128, 0.5f}, Case{1, 1, 2, 1, 1, true},
                       Case{3, 2, 16, 8, 1, true}, Case{19, 3, 96, 32, 1.25f, true},
                       Case{60, 4, 40, 19, 1, true}}) {
    const RopeTable table = Table(c.half, c.attention_factor);
    const int64_t stride = c.heads * c.head_dim + 3;
    const Floats x = RandomFloats(c.rows * stride, 1);
    std::vector<int64_t> positions;
    for (int64_t row = 0; row < c.rows; ++row) positions.push_back(row * row * 7919);
    const auto args = [&](Floats& values) {
      return RopeArgs{.x = values.data(),
                      .row_stride = stride,
                      .rows = c.rows,
                      .heads = c.heads,
                      .head_dim = c.head_dim,
                      .positions = positions.data(),
                      .table = &table,
                      .interleaved = c.interleaved};
    };
    Floats expected = x;
    RopeReference(args(expected));
    for (Device* device : testing::TestDevices()) {
      Floats actual = x;
      device->Rope(args(actual));
      ASSERT_TRUE(device->Finish().ok());
      EXPECT_TRUE(SameBits(actual, expected)) << device->name() << ", head_dim " << c.head_dim
                                              << (c.interleaved ? ", interleaved" : "");
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
