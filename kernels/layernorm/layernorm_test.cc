#include "kernels/layernorm/layernorm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

struct Rows {
  Rows(int64_t rows, int64_t width)
      : rows(rows),
        width(width),
        x(RandomValues(rows * width, 1, 3.0f)),
        weight(RandomValues(width, 2)),
        bias(RandomValues(width, 3)) {}

  LayerNormArgs Args(DType type, void* y) const {
    return {.x = x.data(),
            .weight = weight.data(),
            .bias = bias.data(),
            .epsilon = 1e-5f,
            .rows = rows,
            .width = width,
            .y = y,
            .output_type = type};
  }

  int64_t rows, width;
  std::vector<float> x, weight, bias;
};

TEST(LayerNormTest, EveryLevelAndThreadCountEqualsTheReference) {
  for (const Rows& c : {Rows{1, 1}, Rows{3, 15}, Rows{2, 16}, Rows{17, 37}, Rows{9, 768}}) {
    std::vector<float> expected(c.x.size());
    std::vector<uint16_t> expected_bf16(c.x.size());
    LayerNormReference(c.Args(DType::kFloat32, expected.data()));
    LayerNormReference(c.Args(DType::kBfloat16, expected_bf16.data()));
    for (CpuLevel level : RunnableCpuLevels()) {
      ScopedCpuLevel scope(level);
      for (int threads : {1, 3}) {
        SCOPED_TRACE(::testing::Message() << Name(level) << ", " << threads << " threads, "
                                          << c.rows << " x " << c.width);
        ThreadPool pool(threads);
        std::vector<float> y(c.x.size()), in_place = c.x;
        std::vector<uint16_t> y_bf16(c.x.size());
        LayerNorm(c.Args(DType::kFloat32, y.data()), pool);
        LayerNorm(c.Args(DType::kBfloat16, y_bf16.data()), pool);
        LayerNormArgs args = c.Args(DType::kFloat32, in_place.data());
        args.x = in_place.data();
        LayerNorm(args, pool);
        EXPECT_TRUE(SameBits(y, expected));
        EXPECT_TRUE(SameBits(y_bf16, expected_bf16));
        EXPECT_TRUE(SameBits(in_place, expected));
      }
    }
  }
}

TEST(LayerNormTest, ARowDoesNotDependOnItsBatch) {
  const Rows c{11, 50};
  std::vector<float> together(c.x.size()), alone(c.x.size());
  ThreadPool pool(2);
  LayerNorm(c.Args(DType::kFloat32, together.data()), pool);
  for (int64_t row = 0; row < c.rows; ++row) {
    LayerNormArgs args = c.Args(DType::kFloat32, &alone[row * c.width]);
    args.x += row * c.width;
    args.rows = 1;
    LayerNorm(args, pool);
  }
  EXPECT_TRUE(SameBits(together, alone));
}

// A large mean beside a small variance, too: the mean is taken off before squaring.
TEST(LayerNormTest, IsCloseToDoublePrecision) {
  for (float offset : {0.0f, 100.0f}) {
    Rows c{1, 1000};
    for (float& x : c.x) x += offset;
    std::vector<float> y(c.x.size());
    LayerNormReference(c.Args(DType::kFloat32, y.data()));
    double mean = 0, variance = 0;
    for (float x : c.x) mean += x / static_cast<double>(c.width);
    for (float x : c.x) variance += (x - mean) * (x - mean) / static_cast<double>(c.width);
    const double scale = 1 / std::sqrt(variance + 1e-5);
    for (int64_t i = 0; i < c.width; ++i) {
      const double expected = (c.x[i] - mean) * scale * c.weight[i] + c.bias[i];
      const double size = (std::abs(c.x[i]) + offset) * scale * std::abs(c.weight[i]);
      EXPECT_NEAR(y[i], expected, 5e-7 * (size + std::abs(c.bias[i]))) << i;
    }
  }
}

TEST(LayerNormTest, RowOfEqualsGivesTheBiasAndNanStaysInItsRow) {
  Rows c{3, 20};
  std::fill(c.x.begin(), c.x.end(), 7.0f);
  c.x[c.width + 5] = NAN;
  std::vector<float> y(c.x.size());
  ThreadPool pool(1);
  LayerNorm(c.Args(DType::kFloat32, y.data()), pool);
  for (int64_t i = 0; i < c.width; ++i) {
    EXPECT_EQ(y[i], c.bias[i]);
    EXPECT_TRUE(std::isnan(y[c.width + i]));
    EXPECT_EQ(y[2 * c.width + i], c.bias[i]);
  }
}

}  // namespace
}  // namespace switchyard::kernels
