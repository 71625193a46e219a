#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/matmul/matmul.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

constexpr float kUntouched = -12345.0f;

struct Problem {
  NumericsClass numerics;
  int64_t m, n, k;
  int64_t x_stride, y_stride;
  PackedMatrix w;
  Floats x_fp32;
  DeviceVector<uint16_t> x_bf16;

  Problem(NumericsClass numerics, int64_t m, int64_t n, int64_t k, float scale = 1.0f)
      : numerics(numerics),
        m(m),
        n(n),
        k(k),
        x_stride(k + 3),
        y_stride(n + 5),
        w(numerics, n, k),
        x_fp32(RandomFloats(m * x_stride, static_cast<uint32_t>(m * 1009 + k), scale)) {
    const Floats weights = RandomFloats(n * k, static_cast<uint32_t>(n * 1009 + k), scale);
    w.PackRows(0, n, weights.data(), DType::kFloat32);
    for (float value : x_fp32) x_bf16.push_back(FloatToBf16(value));
  }

  void SetInput(int64_t row, int64_t column, float value) {
    x_fp32[row * x_stride + column] = value;
    x_bf16[row * x_stride + column] = FloatToBf16(value);
  }

  MatmulArgs Args(Floats& y) const {
    y.assign(m * y_stride, kUntouched);
    const void* const x =
        numerics == NumericsClass::kFp32 ? static_cast<const void*>(x_fp32.data()) : x_bf16.data();
    return {.x = x, .x_stride = x_stride, .m = m, .w = &w, .y = y.data(), .y_stride = y_stride};
  }
};

void ExpectEqualsReference(const Problem& problem) {
  Floats expected, actual;
  MatmulReference(problem.Args(expected));
  for (Device* device : testing::TestDevices()) {
    device->Matmul(problem.Args(actual));
    ASSERT_TRUE(device->Finish().ok());
    ASSERT_TRUE(SameBits(actual, expected))
        << device->name() << " m=" << problem.m << " n=" << problem.n << " k=" << problem.k;
  }
}

class MatmulSimtTest : public ::testing::TestWithParam<NumericsClass> {};

TEST_P(MatmulSimtTest, EqualsReferenceOverDepths) {
  for (int64_t k : {1, 2, 3, 31, 32, 33, 64, 95, 255, 256, 257, 300, 511, 513, 768, 1000}) {
    for (int64_t m : {1, 2, 7}) ExpectEqualsReference(Problem(GetParam(), m, 33, k));
  }
}

TEST_P(MatmulSimtTest, EqualsReferenceOverRowsAndOutputs) {
  for (int64_t m : {1, 2, 3, 15, 16, 17, 70}) {
    for (int64_t n : {1, 16, 17, 127, 128, 129, 300}) {
      ExpectEqualsReference(Problem(GetParam(), m, n, 96));
    }
  }
  ExpectEqualsReference(Problem(GetParam(), 200, 5, 64));
}

TEST_P(MatmulSimtTest, EqualsReferenceOnModelShapes) {
  ExpectEqualsReference(Problem(GetParam(), 13, 20, 6144));
  ExpectEqualsReference(Problem(GetParam(), 1, 32, 14336));
  ExpectEqualsReference(Problem(GetParam(), 3, 2000, 96));
}

// Products and sums below the smallest normal number are flushed.
TEST_P(MatmulSimtTest, EqualsReferenceNearUnderflow) {
  for (float scale : {1e-19f, 3e-20f, 1e-38f}) {
    ExpectEqualsReference(Problem(GetParam(), 9, 40, 300, scale));
  }
}

TEST_P(MatmulSimtTest, NonFiniteValuesStayInTheirRow) {
  Problem problem(GetParam(), 8, 33, 301);
  problem.SetInput(2, 300, std::numeric_limits<float>::infinity());
  problem.SetInput(5, 7, std::numeric_limits<float>::quiet_NaN());
  ExpectEqualsReference(problem);
}

TEST_P(MatmulSimtTest, NoRowsIsNothing) {
  const Problem problem(GetParam(), 1, 16, 32);
  for (Device* device : testing::TestDevices()) {
    Floats y;
    MatmulArgs args = problem.Args(y);
    args.m = 0;
    device->Matmul(args);
    ASSERT_TRUE(device->Finish().ok());
    for (float value : y) EXPECT_EQ(value, kUntouched);
  }
}

INSTANTIATE_TEST_SUITE_P(Classes, MatmulSimtTest,
                         ::testing::Values(NumericsClass::kFp32, NumericsClass::kBf16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace switchyard::kernels
