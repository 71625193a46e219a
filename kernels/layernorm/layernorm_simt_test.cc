#include <gtest/gtest.h>

#include <cmath>

#include "kernels/base/memory.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

struct Rows {
  Rows(int64_t rows, int64_t width)
      : rows(rows),
        width(width),
        x(RandomFloats(rows * width, 1, 3.0f)),
        weight(RandomFloats(width, 2)),
        bias(RandomFloats(width, 3)) {}

  LayerNormArgs Args(DType type, const Floats& from, void* y) const {
    return {.x = from.data(),
            .weight = weight.data(),
            .bias = bias.data(),
            .epsilon = 1e-5f,
            .rows = rows,
            .width = width,
            .y = y,
            .output_type = type};
  }

  int64_t rows, width;
  Floats x, weight, bias;
};

void ExpectEqualsReference(const Rows& c) {
  Floats expected(c.x.size());
  DeviceVector<uint16_t> expected_bf16(c.x.size());
  LayerNormReference(c.Args(DType::kFloat32, c.x, expected.data()));
  LayerNormReference(c.Args(DType::kBfloat16, c.x, expected_bf16.data()));
  for (Device* device : testing::TestDevices()) {
    SCOPED_TRACE(::testing::Message() << device->name() << ", " << c.rows << " x " << c.width);
    Floats y(c.x.size()), in_place = c.x;
    DeviceVector<uint16_t> y_bf16(c.x.size());
    device->LayerNorm(c.Args(DType::kFloat32, c.x, y.data()));
    device->LayerNorm(c.Args(DType::kBfloat16, c.x, y_bf16.data()));
    device->LayerNorm(c.Args(DType::kFloat32, in_place, in_place.data()));
    ASSERT_TRUE(device->Finish().ok());
    EXPECT_TRUE(SameBits(y, expected));
    EXPECT_TRUE(SameBits(y_bf16, expected_bf16));
    EXPECT_TRUE(SameBits(in_place, expected));
  }
}

TEST(LayerNormSimtTest, EqualsTheReference) {
  for (const Rows& c : {Rows{1, 1}, Rows{3, 15}, Rows{2, 16}, Rows{17, 37}, Rows{9, 768}}) {
    ExpectEqualsReference(c);
  }
}

TEST(LayerNormSimtTest, NanStaysInItsRow) {
  Rows c{3, 150};
  c.x[c.width + 5] = NAN;
  ExpectEqualsReference(c);
}

}  // namespace
}  // namespace switchyard::kernels
