#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

struct Size {
  int64_t rows, width, stride;
};

class ElementwiseSimtTest : public ::testing::TestWithParam<Size> {
 protected:
  Floats Dense(int64_t rows, uint32_t seed, float scale = 1.0f) const {
    return RandomFloats(rows * GetParam().width, seed, scale);
  }

  // What `run` makes of strided rows on each device, against `reference`.
  void ExpectEqual(const std::function<void(const FloatRows&)>& reference,
                   const std::function<void(Device&, const FloatRows&)>& run) {
    const auto& [rows, width, stride] = GetParam();
    Floats x = RandomFloats(rows * stride, 1, 2.0f);
    if (!x.empty()) x[x.size() / 2] = NAN;
    const auto rows_of = [&](Floats& values) {
      return FloatRows{values.data(), GetParam().stride, GetParam().rows, GetParam().width};
    };
    Floats expected = x;
    reference(rows_of(expected));
    for (Device* device : testing::TestDevices()) {
      Floats actual = x;
      run(*device, rows_of(actual));
      ASSERT_TRUE(device->Finish().ok());
      EXPECT_TRUE(SameBits(actual, expected)) << device->name() << ", " << rows << " x " << width;
    }
  }
};

TEST_P(ElementwiseSimtTest, ClampEqualsTheReference) {
  ExpectEqual([](const FloatRows& rows) { ClampReference(rows, 1.5f); },
              [](Device& device, const FloatRows& rows) { device.Clamp(rows, 1.5f); });
}

TEST_P(ElementwiseSimtTest, AddEqualsTheReference) {
  const Floats y = Dense(GetParam().rows, 2);
  ExpectEqual([&](const FloatRows& rows) { AddReference(rows, y.data()); },
              [&](Device& device, const FloatRows& rows) { device.Add(rows, y.data()); });
}

TEST_P(ElementwiseSimtTest, AddBiasEqualsTheReference) {
  const Floats bias = Dense(1, 2);
  ExpectEqual([&](const FloatRows& rows) { AddBiasReference(rows, bias.data()); },
              [&](Device& device, const FloatRows& rows) { device.AddBias(rows, bias.data()); });
}

TEST_P(ElementwiseSimtTest, AddGatedEqualsTheReference) {
  const Floats gate = RandomFloats(GetParam().rows, 2, 3.0f);
  const Floats y = Dense(GetParam().rows, 3);
  ExpectEqual(
      [&](const FloatRows& rows) { AddGatedReference(rows, gate.data(), y.data()); },
      [&](Device& device, const FloatRows& rows) { device.AddGated(rows, gate.data(), y.data()); });
}

TEST_P(ElementwiseSimtTest, CopyRowsCopiesTheRowsOnly) {
  const auto& [rows, width, stride] = GetParam();
  const int64_t from_stride = width + 1;
  const Floats from = RandomFloats(rows * from_stride, 1);
  for (Device* device : testing::TestDevices()) {
    Floats to(rows * stride, -7.0f);
    device->CopyRows({.from = from.data(),
                      .from_stride = from_stride,
                      .rows = rows,
                      .width = width,
                      .to = to.data(),
                      .to_stride = stride});
    ASSERT_TRUE(device->Finish().ok());
    Floats expected(to.size(), -7.0f);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < width; ++i) expected[row * stride + i] = from[row * from_stride + i];
    }
    EXPECT_TRUE(SameBits(to, expected)) << device->name();
  }
}

TEST_P(ElementwiseSimtTest, ToWireCopiesOrRounds) {
  const Floats x = Dense(GetParam().rows, 1);
  DeviceVector<uint16_t> rounded;
  for (float value : x) rounded.push_back(FloatToBf16(value));
  for (Device* device : testing::TestDevices()) {
    Floats copy(x.size());
    DeviceVector<uint16_t> narrow(x.size());
    device->ToWire(x.data(), std::ssize(x), DType::kFloat32, copy.data());
    device->ToWire(x.data(), std::ssize(x), DType::kBfloat16, narrow.data());
    ASSERT_TRUE(device->Finish().ok());
    EXPECT_TRUE(SameBits(copy, x)) << device->name();
    EXPECT_TRUE(SameBits(narrow, rounded)) << device->name();
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ElementwiseSimtTest,
                         ::testing::Values(Size{0, 8, 8}, Size{1, 1, 1}, Size{5, 15, 20},
                                           Size{70, 37, 37}, Size{9, 4096, 4100},
                                           Size{3, 20000, 20000}));

}  // namespace
}  // namespace switchyard::kernels
