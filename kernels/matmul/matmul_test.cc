#include "kernels/matmul/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"

namespace switchyard::kernels {
namespace {

constexpr float kUntouched = -12345.0f;

struct Problem {
  NumericsClass numerics;
  int64_t m, n, k;
  PackedMatrix w;
  std::vector<float> x_fp32;
  std::vector<uint16_t> x_bf16;
  int64_t x_stride, y_stride;

  Problem(NumericsClass numerics, int64_t m, int64_t n, int64_t k, float scale = 1.0f)
      : numerics(numerics), m(m), n(n), k(k), w(numerics, n, k), x_stride(k + 3), y_stride(n + 5) {
    std::mt19937 random(static_cast<uint32_t>(m * 1000003 + n * 1009 + k));
    std::normal_distribution<float> normal;
    std::vector<float> weights(static_cast<size_t>(n * k));
    for (float& value : weights) value = normal(random) * scale;
    w.PackRows(0, n, weights.data(), DType::kFloat32);
    x_fp32.resize(static_cast<size_t>(m * x_stride));
    for (float& value : x_fp32) value = normal(random) * scale;
    for (float value : x_fp32) x_bf16.push_back(FloatToBf16(value));
  }

  MatmulArgs Args(std::vector<float>& y) const {
    y.assign(static_cast<size_t>(m * y_stride), kUntouched);
    const void* x =
        numerics == NumericsClass::kFp32 ? static_cast<const void*>(x_fp32.data()) : x_bf16.data();
    return {.x = x, .x_stride = x_stride, .m = m, .w = &w, .y = y.data(), .y_stride = y_stride};
  }
};

std::string Describe(const Problem& p, CpuLevel level, int threads) {
  return std::string(Name(p.numerics)) + " m=" + std::to_string(p.m) + " n=" + std::to_string(p.n) +
         " k=" + std::to_string(p.k) + " " + std::string(Name(level)) +
         " threads=" + std::to_string(threads);
}

// Bits, but any NaN equals any other.
::testing::AssertionResult SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
  }
  return ::testing::AssertionSuccess();
}

void ExpectEveryLevelEqualsReference(const Problem& problem) {
  std::vector<float> expected, actual;
  MatmulReference(problem.Args(expected));
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel forced(level);
    for (int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      Matmul(problem.Args(actual), pool);
      ASSERT_TRUE(SameBits(actual, expected)) << Describe(problem, level, threads);
    }
  }
}

class MatmulTest : public ::testing::TestWithParam<NumericsClass> {};

TEST_P(MatmulTest, EqualsReferenceOverDepths) {
  for (int64_t k : {1, 2, 3, 31, 32, 33, 64, 95, 255, 256, 257, 300, 511, 513, 768, 1000}) {
    for (int64_t m : {1, 2, 7}) ExpectEveryLevelEqualsReference(Problem(GetParam(), m, 33, k));
  }
}

TEST_P(MatmulTest, EqualsReferenceOverRows) {
  for (int64_t m = 1; m <= 70; ++m)
    ExpectEveryLevelEqualsReference(Problem(GetParam(), m, 17, 288));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 97, 16, 160));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 200, 5, 64));
}

TEST_P(MatmulTest, EqualsReferenceOnModelShapes) {
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 1, 48, 6144));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 13, 20, 6144));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 1, 32, 14336));
  ExpectEveryLevelEqualsReference(Problem(GetParam(), 3, 2000, 96));
}

// Products and sums below the smallest normal number are flushed the same way everywhere.
TEST_P(MatmulTest, EqualsReferenceNearUnderflow) {
  for (float scale : {1e-19f, 3e-20f, 1e-38f}) {
    ExpectEveryLevelEqualsReference(Problem(GetParam(), 9, 40, 300, scale));
  }
}

TEST_P(MatmulTest, NonFiniteValuesStayInTheirRow) {
  Problem problem(GetParam(), 8, 33, 301);
  Problem clean(GetParam(), 8, 33, 301);
  const auto set = [&](int64_t row, int64_t column, float value) {
    problem.x_fp32[static_cast<size_t>(row * problem.x_stride + column)] = value;
    problem.x_bf16[static_cast<size_t>(row * problem.x_stride + column)] = FloatToBf16(value);
  };
  set(2, 300, std::numeric_limits<float>::infinity());
  set(5, 7, std::numeric_limits<float>::quiet_NaN());
  ExpectEveryLevelEqualsReference(problem);
  std::vector<float> with, without;
  MatmulReference(problem.Args(with));
  MatmulReference(clean.Args(without));
  for (int64_t row : {0, 1, 3, 4, 6, 7}) {
    EXPECT_EQ(std::memcmp(&with[row * problem.y_stride], &without[row * problem.y_stride],
                          static_cast<size_t>(problem.n) * sizeof(float)),
              0);
  }
  EXPECT_TRUE(std::isinf(with[2 * problem.y_stride]));
  EXPECT_TRUE(std::isnan(with[5 * problem.y_stride]));
}

TEST_P(MatmulTest, RowDoesNotDependOnItsBatch) {
  const Problem problem(GetParam(), 23, 50, 700);
  std::vector<float> all, alone;
  ThreadPool pool(2);
  Matmul(problem.Args(all), pool);
  for (int64_t first = 0; first < problem.m; first += 5) {
    MatmulArgs args = problem.Args(alone);
    args.m = std::min<int64_t>(5, problem.m - first);
    args.x = static_cast<const char*>(args.x) +
             first * args.x_stride * static_cast<int64_t>(SizeOf(WireType(GetParam())));
    Matmul(args, pool);
    for (int64_t row = 0; row < args.m; ++row) {
      EXPECT_EQ(std::memcmp(&alone[row * problem.y_stride], &all[(first + row) * problem.y_stride],
                            static_cast<size_t>(problem.n) * sizeof(float)),
                0);
    }
  }
}

TEST_P(MatmulTest, IsCloseToDoublePrecision) {
  const Problem problem(GetParam(), 3, 20, 5000);
  std::vector<float> y;
  ThreadPool pool(1);
  Matmul(problem.Args(y), pool);
  for (int64_t i = 0; i < problem.m; ++i) {
    for (int64_t j = 0; j < problem.n; ++j) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < problem.k; ++k) {
        const size_t index = static_cast<size_t>(i * problem.x_stride + k);
        const double x = GetParam() == NumericsClass::kFp32 ? problem.x_fp32[index]
                                                            : Bf16ToFloat(problem.x_bf16[index]);
        sum += x * problem.w.At(j, k);
        magnitude += std::fabs(x * problem.w.At(j, k));
      }
      EXPECT_NEAR(y[static_cast<size_t>(i * problem.y_stride + j)], sum, 1e-5 * magnitude);
    }
  }
}

TEST_P(MatmulTest, NoRowsIsNothing) {
  Problem problem(GetParam(), 1, 16, 32);
  std::vector<float> y;
  MatmulArgs args = problem.Args(y);
  args.m = 0;
  ThreadPool pool(2);
  Matmul(args, pool);
  for (float value : y) EXPECT_EQ(value, kUntouched);
}

INSTANTIATE_TEST_SUITE_P(Classes, MatmulTest,
                         ::testing::Values(NumericsClass::kFp32, NumericsClass::kBf16),
                         [](const auto& info) { return std::string(Name(info.param)); });

// The order of the definition, spelled out by hand: 5 segments of 64.
TEST(MatmulReferenceTest, FollowsTheDefinition) {
  constexpr int64_t kDepth = 300;
  const Problem problem(NumericsClass::kFp32, 1, 1, kDepth);
  std::vector<float> y;
  MatmulReference(problem.Args(y));
  float s[5] = {};
  for (int64_t k = 0; k < kDepth; ++k) {
    s[k / 64] = std::fma(problem.x_fp32[static_cast<size_t>(k)], problem.w.At(0, k), s[k / 64]);
  }
  EXPECT_EQ(y[0], ((s[0] + s[1]) + (s[2] + s[3])) + s[4]);
}

TEST(MatmulReferenceTest, AddsTheOddProductOfAPairFirst) {
  const uint16_t ones[] = {0x3f80, 0x3f80, 0x3f80, 0x3f80};
  const auto sum = [&](float w0, float w1, float w2, float w3) {
    PackedMatrix w(NumericsClass::kBf16, 1, 4);
    const float weights[] = {w0, w1, w2, w3};
    w.PackRows(0, 1, weights, DType::kFloat32);
    float y = 0;
    MatmulReference({.x = ones, .x_stride = 4, .m = 1, .w = &w, .y = &y, .y_stride = 1});
    return y;
  };
  // 1 + 2^-24 rounds to 1: the small product survives only if it comes after the cancellation.
  EXPECT_EQ(sum(1.0f, 0.0f, 0x1p-24f, -1.0f), 0x1p-24f);
  EXPECT_EQ(sum(1.0f, 0.0f, -1.0f, 0x1p-24f), 0.0f);
}

TEST(PackedMatrixTest, RoundTripsInEveryTypeAndInPieces) {
  constexpr int64_t kRows = 37, kColumns = 45;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> fp32(kRows * kColumns);
  for (float& value : fp32) value = normal(random);
  std::vector<uint16_t> bf16;
  for (float value : fp32) bf16.push_back(FloatToBf16(value));
  for (NumericsClass numerics :
       {NumericsClass::kFp32, NumericsClass::kBf16, NumericsClass::kBf16Sm90}) {
    for (DType type : {DType::kFloat32, DType::kBfloat16}) {
      PackedMatrix w(numerics, kRows, kColumns);
      w.PackRows(0, 16,
                 type == DType::kFloat32 ? static_cast<const void*>(fp32.data()) : bf16.data(),
                 type);
      w.PackRows(16, 21,
                 type == DType::kFloat32 ? static_cast<const void*>(&fp32[16 * kColumns])
                                         : &bf16[16 * kColumns],
                 type);
      for (int64_t i = 0; i < kRows; ++i) {
        for (int64_t j = 0; j < kColumns; ++j) {
          const size_t index = static_cast<size_t>(i * kColumns + j);
          const bool exact = type == DType::kFloat32 && numerics == NumericsClass::kFp32;
          EXPECT_EQ(w.At(i, j), exact ? fp32[index] : Bf16ToFloat(bf16[index]));
        }
      }
      if (numerics == NumericsClass::kBf16Sm90) continue;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(w.panel(1)) % 64, 0u);
    }
  }
}

// Copies take tiles whole: what is behind the matrix must add nothing to a sum.
TEST(PackedMatrixTest, TilesAreFilledUpWithZeros) {
  constexpr int64_t kRows = 70, kColumns = 65;
  const std::vector<uint16_t> ones(kRows * kColumns, FloatToBf16(1.0f));
  PackedMatrix w(NumericsClass::kBf16Sm90, kRows, kColumns);
  w.PackRows(0, kRows, ones.data(), DType::kBfloat16);
  const TileLayout tiles = w.tiles();
  ASSERT_EQ(tiles.bytes(), 2 * 2 * 64 * 64 * 2);
  ASSERT_EQ(w.bytes(), static_cast<size_t>(tiles.bytes()));
  const auto* const elements = static_cast<const uint16_t*>(w.data());
  for (int64_t row = 0; row < 128; ++row) {
    for (int64_t column = 0; column < 128; ++column) {
      const bool exists = row < kRows && column < kColumns;
      ASSERT_EQ(elements[tiles.ElementAt(row, column)], exists ? 0x3f80 : 0)
          << row << " " << column;
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
