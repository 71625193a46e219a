#include "kernels/base/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "kernels/base/simd_functions.h"
#include "kernels/base/test_levels.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();

// Every n-th bit pattern is tried, n a prime, so that exponents and mantissas vary together. Set
// SWITCHYARD_MATH_STRIDE=1 to try all of them (minutes) when a function changes.
uint64_t Stride() {
  const char* stride = std::getenv("SWITCHYARD_MATH_STRIDE");
  return stride == nullptr ? 1021 : std::strtoull(stride, nullptr, 10);
}

// Distance in units in the last place of `exact`; zero where both are infinite, or both are below
// the smallest normal number, or both are NaN.
double ErrorInUlp(float actual, double exact) {
  if (std::isnan(actual) || std::isnan(exact)) {
    return std::isnan(actual) && std::isnan(exact) ? 0 : kInfinity;
  }
  if (std::fabs(exact) < kSmallestNormal && std::fabs(actual) <= 2 * kSmallestNormal) return 0;
  const auto rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(actual)) return rounded == actual ? 0 : kInfinity;
  const auto exponent = static_cast<int64_t>(std::bit_cast<uint64_t>(exact) >> 52 & 0x7ff);
  const double ulp = std::bit_cast<double>(static_cast<uint64_t>(exponent - 23) << 52);
  return std::fabs(actual - exact) / ulp;
}

// The largest error(x, f(x)) over the bit patterns [first, last], with every stride-th visited.
template <typename Error>
double LargestError(VectorFunction f, uint32_t first, uint32_t last, uint64_t stride,
                    const Error& error) {
  constexpr uint64_t kTile = 1 << 16;  // inputs
  ThreadPool pool(2);
  std::atomic<double> largest{0};
  const uint64_t inputs = (uint64_t{last} - first) / stride + 1;
  pool.ParallelFor(static_cast<int64_t>((inputs + kTile - 1) / kTile), [&](int64_t tile, int) {
    double worst = 0;
    for (uint64_t i = static_cast<uint64_t>(tile) * kTile;
         i < std::min(inputs, static_cast<uint64_t>(tile + 1) * kTile); i += 16) {
      float x[16], y[16];
      for (uint64_t lane = 0; lane < 16; ++lane) {
        const uint64_t index = std::min(i + lane, inputs - 1);
        x[lane] = std::bit_cast<float>(static_cast<uint32_t>(first + index * stride));
      }
      f(x, y);
      for (int lane = 0; lane < 16; ++lane) worst = std::max(worst, error(x[lane], y[lane]));
    }
    double before = largest.load();
    while (before < worst && !largest.compare_exchange_weak(before, worst)) {
    }
  });
  return largest.load();
}

uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }

const VectorFunctions& Fastest() { return VectorFunctionsFor(DetectCpuLevel()); }

TEST(MathTest, ExpIsWithinAboutOneUlp) {
  const auto error = [](float x, float y) { return ErrorInUlp(y, std::exp(double{x})); };
  // Where the result is neither 1 nor out of range.
  for (float sign : {1.0f, -1.0f}) {
    EXPECT_LT(LargestError(Fastest().exp, BitsOf(sign * 0x1p-26f), BitsOf(sign * 104.0f), Stride(),
                           error),
              1.01);
  }
  EXPECT_LT(LargestError(Fastest().exp, 0, 0xffffffffu, Stride(), error), 1.01);
}

TEST(MathTest, ExpNeverGivesASubnormal) {
  for (uint32_t bits = BitsOf(-87.0f); bits < BitsOf(-88.0f); ++bits) {
    const float y = Exp(std::bit_cast<float>(bits));
    EXPECT_TRUE(y == 0 || y >= kSmallestNormal);
  }
}

TEST(MathTest, LogIsWithinOneUlp) {
  const auto error = [](float x, float y) {
    if (std::fabs(x) < kSmallestNormal) return y == -kInfinity ? 0.0 : double{kInfinity};
    return ErrorInUlp(y, std::log(double{x}));
  };
  EXPECT_LT(LargestError(Fastest().log, BitsOf(0.25f), BitsOf(4.0f), Stride(), error), 1.0);
  EXPECT_LT(LargestError(Fastest().log, 0, 0xffffffffu, Stride(), error), 1.0);
}

TEST(MathTest, SigmoidIsWithinThreeUlp) {
  const auto error = [](float x, float y) { return ErrorInUlp(y, 1 / (1 + std::exp(-double{x}))); };
  for (float sign : {1.0f, -1.0f}) {
    EXPECT_LT(LargestError(Fastest().sigmoid, BitsOf(sign * 0x1p-26f), BitsOf(sign * 87.0f),
                           Stride(), error),
              3.0);
  }
  EXPECT_LT(LargestError(Fastest().sigmoid, 0, 0xffffffffu, Stride(), error), 3.0);
}

TEST(MathTest, ErfAndGeluAreCloseEverywhere) {
  for (float x = -9.0f; x <= 9.0f; x += 1.0f / 1024) {
    const double exact = std::erf(double{x} / std::sqrt(2.0));
    EXPECT_NEAR(Erf(x), std::erf(double{x}), 2e-7) << x;
    EXPECT_NEAR(Gelu(x), 0.5 * x * (1 + exact), 2e-7 * (1 + std::abs(x))) << x;
    const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * double{x} * x * x);
    EXPECT_NEAR(GeluTanh(x), 0.5 * x * (1 + std::tanh(u)), 4e-7 * (1 + std::abs(x))) << x;
  }
  EXPECT_EQ(Erf(INFINITY), 1.0f);
  EXPECT_EQ(Erf(-INFINITY), -1.0f);
  EXPECT_TRUE(std::isnan(Erf(NAN)));
  EXPECT_EQ(Gelu(100.0f), 100.0f);
  EXPECT_EQ(GeluTanh(-100.0f), 0.0f);
}

TEST(MathTest, SiluIsWithinFourUlpUntilTheSigmoidIsFlushed) {
  const auto error = [](float x, float y) { return ErrorInUlp(y, x / (1 + std::exp(-double{x}))); };
  for (float sign : {1.0f, -1.0f}) {
    EXPECT_LT(LargestError(Fastest().silu, BitsOf(sign * 0x1p-26f), BitsOf(sign * 87.0f), Stride(),
                           error),
              4.0);
  }
  EXPECT_EQ(Silu(-100.0f), 0.0f);
  EXPECT_EQ(Silu(100.0f), 100.0f);
}

TEST(MathTest, RsqrtIsWithinTwoUlp) {
  const auto error = [](float x, float y) { return ErrorInUlp(y, 1 / std::sqrt(double{x})); };
  EXPECT_LT(
      LargestError(Fastest().rsqrt, BitsOf(kSmallestNormal), BitsOf(kInfinity), Stride(), error),
      2.0);
}

TEST(MathTest, SinAndCosAreCloseUpToTwoToThe24) {
  // Absolute: relative to 1, the largest value.
  const auto sine = [](float x, float y) { return std::fabs(y - std::sin(double{x})); };
  const auto cosine = [](float x, float y) { return std::fabs(y - std::cos(double{x})); };
  for (float sign : {1.0f, -1.0f}) {
    const uint32_t first = BitsOf(sign * 0.0f);
    const uint32_t last = BitsOf(sign * 0x1p24f);
    EXPECT_LT(LargestError(Fastest().sin, first, last, Stride(), sine), 1.2e-7);
    EXPECT_LT(LargestError(Fastest().cos, first, last, Stride(), cosine), 1.2e-7);
  }
  for (float x : {0x1.000002p24f, -1e30f, kInfinity, std::nanf("")}) {
    float s = 0, c = 0;
    SinCos(x, &s, &c);
    EXPECT_TRUE(std::isnan(s) && std::isnan(c)) << x;
  }
}

// Bits, but any NaN equals any other.
bool SameBits(float a, float b) {
  return BitsOf(a) == BitsOf(b) || (std::isnan(a) && std::isnan(b));
}

float Sin(float x) {
  float s, c;
  SinCos(x, &s, &c);
  return s;
}

float Cos(float x) {
  float s, c;
  SinCos(x, &s, &c);
  return c;
}

TEST(MathTest, EveryLevelGivesTheBitsOfTheScalarForm) {
  for (CpuLevel level : RunnableCpuLevels()) {
    const VectorFunctions& vector = VectorFunctionsFor(level);
    const auto differs = [](float (*scalar)(float)) {
      return [scalar](float x, float y) { return SameBits(y, scalar(x)) ? 0.0 : 1.0; };
    };
    const auto check = [&](VectorFunction f, float (*scalar)(float), const char* name) {
      EXPECT_EQ(LargestError(f, 0, 0xffffffffu, 4099, differs(scalar)), 0)
          << name << " " << Name(level);
    };
    check(vector.exp, Exp, "Exp");
    check(vector.log, Log, "Log");
    check(vector.sigmoid, Sigmoid, "Sigmoid");
    check(vector.silu, Silu, "Silu");
    check(vector.rsqrt, Rsqrt, "Rsqrt");
    check(vector.sin, Sin, "Sin");
    check(vector.cos, Cos, "Cos");
  }
}

TEST(MathTest, SpecialValues) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-kInfinity), 0.0f);
  EXPECT_EQ(Exp(kInfinity), kInfinity);
  EXPECT_EQ(Log(1.0f), 0.0f);
  EXPECT_EQ(Log(0.0f), -kInfinity);
  EXPECT_EQ(Log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(Log(-1.0f)));
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
  EXPECT_EQ(Sigmoid(0.0f), 0.5f);
  EXPECT_EQ(Rsqrt(4.0f), 0.5f);
}

}  // namespace
}  // namespace switchyard::kernels
