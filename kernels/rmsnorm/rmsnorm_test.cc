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
