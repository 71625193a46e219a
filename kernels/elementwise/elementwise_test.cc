#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/base/math.h"
#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

struct Size {
  int64_t rows, width, stride;
};

// `run` at every level and thread count, and one row at a time, against `reference`.
void ExpectEqual(const Size& size, std::function<void(FloatRows, int64_t, ThreadPool*)> run) {
  const std::vector<float> x = RandomValues(size.rows * size.stride, 1, 2.0f);
  const auto rows_of = [&](std::vector<float>& values, int64_t first, int64_t count) {
    return FloatRows{.x = values.data() + first * size.stride,
                     .stride = size.stride,
                     .count = count,
                     .width = size.width};
  };
  std::vector<float> expected = x;
  run(rows_of(expected, 0, size.rows), 0, nullptr);
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel scope(level);
    for (int threads : {1, 3}) {
      SCOPED_TRACE(::testing::Message() << Name(level) << ", " << threads << " threads, "
                                        << size.rows << " x " << size.width);
      ThreadPool pool(threads);
      std::vector<float> together = x, apart = x;
      run(rows_of(together, 0, size.rows), 0, &pool);
      for (int64_t row = 0; row < size.rows; ++row) run(rows_of(apart, row, 1), row, &pool);
      EXPECT_TRUE(SameBits(together, expected));
      EXPECT_TRUE(SameBits(apart, expected));
    }
  }
}

class ElementwiseTest : public ::testing::TestWithParam<Size> {};

TEST_P(ElementwiseTest, ClampEqualsTheReference) {
  ExpectEqual(GetParam(), [](FloatRows rows, int64_t, ThreadPool* pool) {
    pool != nullptr ? Clamp(rows, 1.5f, *pool) : ClampReference(rows, 1.5f);
  });
}

TEST_P(ElementwiseTest, AddBiasEqualsTheReference) {
  const std::vector<float> bias = RandomValues(GetParam().width, 2);
  ExpectEqual(GetParam(), [&](FloatRows rows, int64_t, ThreadPool* pool) {
    pool != nullptr ? AddBias(rows, bias.data(), *pool) : AddBiasReference(rows, bias.data());
  });
}

TEST_P(ElementwiseTest, AddGatedEqualsTheReference) {
  const std::vector<float> gate = RandomValues(GetParam().rows, 2, 3.0f);
  const std::vector<float> y = RandomValues(GetParam().rows * GetParam().width, 3);
  ExpectEqual(GetParam(), [&](FloatRows rows, int64_t first, ThreadPool* pool) {
    const float* const gates = gate.data() + first;
    const float* const added = y.data() + first * rows.width;
    pool != nullptr ? AddGated(rows, gates, added, *pool) : AddGatedReference(rows, gates, added);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, ElementwiseTest,
                         ::testing::Values(Size{0, 8, 8}, Size{1, 1, 1}, Size{5, 15, 20},
                                           Size{70, 37, 37}, Size{9, 4096, 4100},
                                           Size{3, 20000, 20000}));

TEST(ClampTest, LimitsStayNanStaysAndOtherColumnsAreNotTouched) {
  std::vector<float> x = {-9, -1.5f, -0.5f, 0, 1.5f, INFINITY, -INFINITY, NAN, 9};
  ThreadPool pool(1);
  Clamp({.x = x.data(), .stride = 9, .count = 1, .width = 8}, 1.5f, pool);
  EXPECT_TRUE(SameBits(x, {-1.5f, -1.5f, -0.5f, 0, 1.5f, 1.5f, -1.5f, NAN, 9}));
}

TEST(AddGatedTest, IsCloseToDoublePrecision) {
  std::vector<float> x = RandomValues(100, 1);
  const std::vector<float> before = x, y = RandomValues(100, 2);
  const float gate = -0.7f;
  AddGatedReference({.x = x.data(), .stride = 100, .count = 1, .width = 100}, &gate, y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = before[i] + y[i] / (1 + std::exp(0.7));
    EXPECT_NEAR(x[i], expected, 3e-7 * (std::abs(before[i]) + std::abs(y[i])));
  }
}

}  // namespace
}  // namespace switchyard::kernels
