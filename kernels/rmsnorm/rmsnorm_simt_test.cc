#include <gtest/gtest.h>

#include <vector>

#include "kernels/base/memory.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

// Heads of strided rows, in place.
TEST(RmsNormSimtTest, EqualsTheReference) {
  for (const int64_t width : {1, 15, 16, 37, 768}) {
    const int64_t rows = 5, heads = 3, stride = heads * width + 7;
    const Floats x = RandomFloats(rows * stride, 1, 3.0f);
    const Floats weight = RandomFloats(width, 2);
    for (const DType type : {DType::kFloat32, DType::kBfloat16}) {
      const auto args = [&](Floats& y) {
        return RmsNormArgs{.x = x.data(),
                           .x_stride = stride,
                           .weight = weight.data(),
                           .epsilon = 1e-5f,
                           .rows = rows,
                           .heads = heads,
                           .width = width,
                           .y = y.data(),
                           .y_stride = stride,
                           .output_type = type};
      };
      Floats expected(x.size());
      RmsNormReference(args(expected));
      for (Device* device : testing::TestDevices()) {
        Floats actual(x.size());
        device->RmsNorm(args(actual));
        ASSERT_TRUE(device->Finish().ok());
        EXPECT_TRUE(SameBits(actual, expected)) << device->name() << ", width " << width;
      }
    }
  }
}

TEST(RmsNormSimtTest, RunsInPlace) {
  const int64_t rows = 9, width = 300;
  const Floats weight = RandomFloats(width, 2);
  Floats expected = RandomFloats(rows * width, 1);
  const auto in_place = [&](Floats& x) {
    return RmsNormArgs{.x = x.data(),
                       .weight = weight.data(),
                       .epsilon = 1e-6f,
                       .rows = rows,
                       .width = width,
                       .y = x.data()};
  };
  for (Device* device : testing::TestDevices()) {
    Floats actual = expected;
    device->RmsNorm(in_place(actual));
    ASSERT_TRUE(device->Finish().ok());
    RmsNormReference(in_place(expected));
    EXPECT_TRUE(SameBits(actual, expected)) << device->name();
  }
}

}  // namespace
}  // namespace switchyard::kernels
