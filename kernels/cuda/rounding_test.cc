// The bits of class fp32 on a GPU rest on nvcc's options: plain arithmetic must round as on the
// CPU.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/rounding_probe.h"
#include "kernels/cuda/test_device.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

class RoundingTest : public ::testing::Test {
 protected:
  void SetUp() override { SWITCHYARD_CUDA_OR_SKIP(); }

  std::vector<Rounded> Probe(const std::vector<float>& a, const std::vector<float>& b,
                             const std::vector<float>& c) {
    const size_t count = a.size();
    const auto in = UnifiedMemory::Allocate(3 * count * sizeof(float));
    const auto out = UnifiedMemory::Allocate(count * sizeof(Rounded));
    EXPECT_TRUE(in.ok()) << in.status();
    EXPECT_TRUE(out.ok()) << out.status();
    if (!in.ok() || !out.ok()) return std::vector<Rounded>(count);
    auto* const first = in->As<float>();
    std::copy(a.begin(), a.end(), first);
    std::copy(b.begin(), b.end(), first + count);
    std::copy(c.begin(), c.end(), first + 2 * count);
    const absl::Status probed = ProbeRounding(first, first + count, first + 2 * count,
                                              static_cast<int64_t>(count), out->As<Rounded>());
    EXPECT_TRUE(probed.ok()) << probed;
    return {out->As<Rounded>(), out->As<Rounded>() + count};
  }
};

TEST_F(RoundingTest, EqualsTheCpu) {
  constexpr int kCount = 1 << 16;
  const auto a = testing::RandomValues(kCount, 1);
  const auto b = testing::RandomValues(kCount, 2);
  const auto c = testing::RandomValues(kCount, 3);
  const std::vector<Rounded> rounded = Probe(a, b, c);
  int differ = 0;
  const auto count = [&](float found, float expected) {
    differ += std::bit_cast<uint32_t>(found) != std::bit_cast<uint32_t>(expected);
  };
  for (int i = 0; i < kCount; ++i) {
    count(rounded[i].multiply_add, a[i] * b[i] + c[i]);
    count(rounded[i].fma, std::fma(a[i], b[i], c[i]));
    count(rounded[i].quotient, a[i] / b[i]);
    count(rounded[i].root, std::sqrt(std::fabs(a[i])));
  }
  EXPECT_EQ(differ, 0);
}

TEST_F(RoundingTest, AMultiplyAndAnAddAreTwoRoundings) {
  const float a = 1.0f + 0x1p-12f;
  const std::vector<Rounded> rounded = Probe({a}, {a}, {-1.0f - 0x1p-11f});
  EXPECT_EQ(rounded[0].multiply_add, 0.0f);
  EXPECT_EQ(rounded[0].fma, 0x1p-24f);
}

TEST_F(RoundingTest, SubnormalsAreZero) {
  const float least = std::numeric_limits<float>::min();
  // A subnormal result; a subnormal operand.
  const std::vector<Rounded> rounded = Probe({least, least / 4}, {0.25f, 4.0f}, {0.0f, 0.0f});
  for (const Rounded& values : rounded) {
    EXPECT_EQ(values.multiply_add, 0.0f);
    EXPECT_EQ(values.fma, 0.0f);
  }
  EXPECT_EQ(rounded[1].quotient, 0.0f);
  EXPECT_EQ(rounded[1].root, 0.0f);
}

// Where x86 keeps a result that only rounding lifts to the smallest normal number.
TEST_F(RoundingTest, ResultsAtTheEdgeOfSubnormalsEqualTheCpu) {
  const float least = std::numeric_limits<float>::min();
  const std::vector<float> a = {0x1.000002p-63f, -0x1.000002p-63f, 0x1.fffffep-127f * 2,
                                least,           0x1.fffffep-1f,   0x1.000002p-64f};
  const std::vector<float> b = {0x1.fffffcp-64f, 0x1.fffffcp-64f, 0x1.fffffep-1f,
                                0x1.fffffep-1f,  0x1p126f,        0x1.fffffcp-63f};
  const std::vector<float> c(a.size(), 0.0f);
  const std::vector<Rounded> rounded = Probe(a, b, c);
  SetComputeThreadFloatMode();
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(i);
    const volatile float x = a[i], y = b[i];
    EXPECT_EQ(rounded[i].multiply_add, x * y + 0.0f);
    EXPECT_EQ(rounded[i].fma, std::fma(x, y, 0.0f));
    EXPECT_EQ(rounded[i].quotient, x / y);
  }
}

}  // namespace
}  // namespace switchyard::kernels
