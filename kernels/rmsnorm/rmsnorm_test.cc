#include "kernels/rmsnorm/rmsnorm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

struct Case {
  int64_t rows;
  int64_t width;
};

RmsNormArgs Args(const Case& c, const std::vector<float>& x, const std::vector<float>& weight,
                 DType type, void* y) {
  return {.x = x.data(),
          .weight = weight.data(),
          .epsilon = 1e-5f,
          .rows = c.rows,
          .width = c.width,
          .y = y,
          .output_type = type};
}

TEST(RmsNormTest, EveryLevelAndThreadCountEqualsTheReference) {
  for (const Case c : {Case{1, 1}, Case{3, 15}, Case{2, 16}, Case{17, 37}, Case{9, 768}}) {
    const std::vector<float> x = RandomValues(c.rows * c.width, 1, 3.0f);
    const std::vector<float> weight = RandomValues(c.width, 2);
    std::vector<float> expected(x.size());
    std::vector<uint16_t> expected_bf16(x.size());
    RmsNormReference(Args(c, x, weight, DType::kFloat32, expected.data()));
    RmsNormReference(Args(c, x, weight, DType::kBfloat16, expected_bf16.data()));
    for (CpuLevel level : RunnableCpuLevels()) {
      ScopedCpuLevel scope(level);
      for (int threads : {1, 3}) {
        SCOPED_TRACE(::testing::Message() << Name(level) << ", " << threads << " threads, "
                                          << c.rows << " x " << c.width);
        ThreadPool pool(threads);
        std::vector<float> y(x.size());
        std::vector<uint16_t> y_bf16(x.size());
        RmsNorm(Args(c, x, weight, DType::kFloat32, y.data()), pool);
        RmsNorm(Args(c, x, weight, DType::kBfloat16, y_bf16.data()), pool);
        EXPECT_TRUE(SameBits(y, expected));
        EXPECT_TRUE(SameBits(y_bf16, expected_bf16));
      }
    }
  }
}

// q and k norms: some heads of wider rows, in place. The rest of a row stays as it is.
TEST(RmsNormTest, HeadsOfStridedRowsInPlaceEqualDenseRows) {
  const int64_t rows = 7, heads = 3, width = 20, stride = 101, begin = 4;
  const std::vector<float> x = RandomValues(rows * stride, 1);
  const std::vector<float> weight = RandomValues(width, 2);
  std::vector<float> expected = x;
  for (int64_t vector = 0; vector < rows * heads; ++vector) {
    const int64_t offset = vector / heads * stride + begin + vector % heads * width;
    RmsNormReference(Args({1, width}, {x.begin() + offset, x.end()}, weight, DType::kFloat32,
                          &expected[offset]));
  }
  const auto normalize = [&](std::vector<float>& values) {
    return RmsNormArgs{.x = values.data() + begin,
                       .x_stride = stride,
                       .weight = weight.data(),
                       .epsilon = 1e-5f,
                       .rows = rows,
                       .heads = heads,
                       .width = width,
                       .y = values.data() + begin,
                       .y_stride = stride};
  };
  std::vector<float> reference = x;
  RmsNormReference(normalize(reference));
  EXPECT_TRUE(SameBits(reference, expected));
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel scope(level);
    for (int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<float> actual = x;
      RmsNorm(normalize(actual), pool);
      EXPECT_TRUE(SameBits(actual, expected)) << Name(level);
    }
  }
}

// A latent in bf16 out of wider rows.
TEST(RmsNormTest, StridesOfInputAndOutputAreTheirOwn) {
  const int64_t rows = 5, width = 33, x_stride = 40, y_stride = 35;
  const std::vector<float> x = RandomValues(rows * x_stride, 1);
  const std::vector<float> weight = RandomValues(width, 2);
  std::vector<uint16_t> expected(rows * y_stride), actual(expected.size());
  for (int64_t row = 0; row < rows; ++row) {
    RmsNormReference(Args({1, width}, {x.begin() + row * x_stride, x.end()}, weight,
                          DType::kBfloat16, &expected[row * y_stride]));
  }
  RmsNormArgs args = Args({rows, width}, x, weight, DType::kBfloat16, actual.data());
  args.x_stride = x_stride;
  args.y_stride = y_stride;
  ThreadPool pool(2);
  RmsNorm(args, pool);
  EXPECT_TRUE(SameBits(actual, expected));
}

TEST(RmsNormTest, IsCloseToDoublePrecision) {
  const int64_t width = 1000;
  const std::vector<float> x = RandomValues(width, 3, 10.0f);
  const std::vector<float> weight = RandomValues(width, 4);
  std::vector<float> y(x.size());
  RmsNormReference(Args({1, width}, x, weight, DType::kFloat32, y.data()));
  double squares = 0;
  for (float value : x) squares += static_cast<double>(value) * value;
  const double scale = 1 / std::sqrt(squares / width + 1e-5);
  for (int64_t i = 0; i < width; ++i) {
    const double expected = x[i] * scale * weight[i];
    EXPECT_NEAR(y[i], expected, 5e-7 * std::abs(expected)) << i;
  }
}

TEST(RmsNormTest, RowOfZerosStaysZeroAndNanStaysInItsRow) {
  const Case c{3, 20};
  std::vector<float> x(c.rows * c.width, 0.0f);
  x[1 * c.width + 5] = NAN;
  const std::vector<float> weight(c.width, 1.0f);
  std::vector<float> y(x.size());
  ThreadPool pool(1);
  RmsNorm(Args(c, x, weight, DType::kFloat32, y.data()), pool);
  for (int64_t i = 0; i < c.width; ++i) {
    EXPECT_EQ(y[i], 0.0f);
    EXPECT_TRUE(std::isnan(y[c.width + i]));
    EXPECT_EQ(y[2 * c.width + i], 0.0f);
  }
}

}  // namespace
}  // namespace switchyard::kernels
