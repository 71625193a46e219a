#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/memory.h"
#include "kernels/router/routed.h"
#include "kernels/router/router.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomFloats;
using testing::SameBits;

void ExpectEqual(const Routed& actual, const Routed& expected) {
  EXPECT_EQ(actual.status, expected.status);
  EXPECT_EQ(actual.failed, expected.failed);
  EXPECT_EQ(actual.chosen, expected.chosen);
  EXPECT_EQ(actual.ids, expected.ids);
  EXPECT_EQ(actual.position, expected.position);
  EXPECT_TRUE(SameBits(actual.weights, expected.weights));
}

// And what they agree on.
absl::Status ExpectDevicesAgree(const RouterArgs& args) {
  const Routed expected = RouteForTest(args);
  for (Device* device : testing::TestDevices()) {
    SCOPED_TRACE(device->name());
    ExpectEqual(RouteForTestWith(args, [&](const RouterArgs& own) { return device->Route(own); }),
                expected);
  }
  return expected.status;
}

// Half of the values coarse, which makes ties; rows without an answer, with little to choose from,
// and of zeros of both signs.
Floats Logits(int64_t rows, int64_t experts) {
  Floats logits = RandomFloats(rows * experts, 1, 3.0f);
  for (size_t i = 0; i < logits.size() / 2; ++i) logits[i] = std::round(logits[i]);
  const auto row = [&](int64_t r) { return logits.begin() + r * experts; };
  row(3)[experts / 2] = NAN;
  row(4)[experts - 1] = INFINITY;
  std::fill_n(row(5), experts, -INFINITY);
  std::fill_n(row(6), experts, -INFINITY);
  row(6)[experts - 1] = 1.5f;
  row(7)[0] = -INFINITY;
  for (int64_t i = 0; i < experts; ++i) row(8)[i] = i % 2 == 0 ? -0.0f : 0.0f;
  for (int64_t i = 0; i < experts; ++i) row(9)[i] = -250.0f * static_cast<float>(i);
  return logits;
}

TEST(RouterSimtTest, EveryConventionEqualsTheCpu) {
  constexpr int64_t kRows = 40, kExperts = 32;
  const Floats logits = Logits(kRows, kExperts), bias = RandomFloats(kExperts, 2);
  const std::vector<float> gumbel = testing::RandomValues(kRows * kExperts, 3);
  const std::vector<float> noise = testing::RandomValues(kRows * kExperts, 4);
  std::vector<float> uniform(kRows);
  std::vector<int32_t> permutation(kRows);
  for (int64_t r = 0; r < kRows; ++r) {
    uniform[r] = static_cast<float>(r) / kRows;
    permutation[r] = static_cast<int32_t>(kRows - 1 - r);
  }
  for (const std::string& name : ConventionNames()) {
    RouterConvention convention = *FindConvention(name);
    if (convention.selection == Selection::kExpertChoice) continue;
    convention.capacity_scope = CapacityScope::kBatch;
    for (const bool noisy : {false, true}) {
      SCOPED_TRACE(name + (noisy ? ", with noise" : ""));
      EXPECT_TRUE(ExpectDevicesAgree({.convention = &convention,
                                      .logits = logits.data(),
                                      .rows = kRows,
                                      .experts = kExperts,
                                      .k = convention.required_k > 0 ? convention.required_k : 2,
                                      .bias = bias.data(),
                                      .uniform = uniform.data(),
                                      .gumbel = noisy ? gumbel.data() : nullptr,
                                      .noise = noisy ? noise.data() : nullptr,
                                      .noise_logits = noisy ? gumbel.data() : nullptr,
                                      .permutation = permutation.data()})
                      .ok());
    }
  }
}

TEST(RouterSimtTest, EveryShapeEqualsTheReference) {
  const RouterConvention mixtral = *FindConvention("mixtral");
  const RouterConvention qwen2_moe = *FindConvention("qwen2-moe");
  for (const auto& [experts, k] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {8, 2}, {60, 4}, {64, 64}, {257, 8}, {4096, 64}}) {
    const Floats logits = Logits(12, experts);
    for (const RouterConvention* convention : {&mixtral, &qwen2_moe}) {
      SCOPED_TRACE(::testing::Message() << experts << " experts");
      const RouterArgs args{.convention = convention,
                            .logits = logits.data(),
                            .rows = 12,
                            .experts = experts,
                            .k = k};
      const Routed expected = RouteForTestWith(args, [](RouterArgs own) {
        SoftmaxTopKReference(own);
        std::copy_n(own.ids, own.rows * own.k, own.chosen);
        return absl::OkStatus();
      });
      for (Device* device : testing::TestDevices()) {
        const Routed actual =
            RouteForTestWith(args, [&](const RouterArgs& own) { return device->Route(own); });
        EXPECT_TRUE(actual.status.ok()) << actual.status;
        EXPECT_EQ(actual.ids, expected.ids) << device->name();
        EXPECT_EQ(actual.failed, expected.failed) << device->name();
        EXPECT_TRUE(SameBits(actual.weights, expected.weights)) << device->name();
      }
    }
  }
}

// Group limits in all their forms, and a correction bias that hides or breaks experts.
TEST(RouterSimtTest, GroupsEqualTheCpu) {
  constexpr int64_t kRows = 30, kExperts = 256;
  const Floats logits = Logits(kRows, kExperts);
  Floats biases[] = {RandomFloats(kExperts, 5, 0.3f), RandomFloats(kExperts, 6), {}};
  for (int64_t i = 0; i < kExperts; ++i) biases[1][i] -= 1.0f;  // most keys are negative
  biases[2] = biases[0];
  biases[2][200] = NAN;
  for (const char* name : {"deepseek-v3", "deepseek-v3-zero-fill", "deepseek-v2"}) {
    for (const auto& [groups, kept] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {8, 4}, {8, 1}, {128, 5}, {8, 8}}) {
      RouterConvention convention = *FindConvention(name);
      convention.groups = groups;
      convention.kept_groups = kept;
      for (const Floats& bias : biases) {
        SCOPED_TRACE(::testing::Message() << name << ", " << kept << " of " << groups);
        EXPECT_TRUE(ExpectDevicesAgree({.convention = &convention,
                                        .logits = logits.data(),
                                        .rows = kRows,
                                        .experts = kExperts,
                                        .k = 8,
                                        .bias = bias.data()})
                        .ok());
      }
    }
  }
}

TEST(RouterSimtTest, RefusesWhatTheCpuRefuses) {
  const RouterConvention convention = *FindConvention("deepseek-v3");
  const Floats logits = RandomFloats(64, 1);
  // no convention, no bias, too large a k
  EXPECT_FALSE(
      ExpectDevicesAgree({.logits = logits.data(), .rows = 1, .experts = 64, .k = 2}).ok());
  EXPECT_FALSE(
      ExpectDevicesAgree(
          {.convention = &convention, .logits = logits.data(), .rows = 1, .experts = 64, .k = 2})
          .ok());
  EXPECT_FALSE(
      ExpectDevicesAgree(
          {.convention = &convention, .logits = logits.data(), .rows = 1, .experts = 64, .k = 65})
          .ok());
  EXPECT_TRUE(
      ExpectDevicesAgree({.convention = &convention, .experts = 64, .k = 2}).ok());  // no rows
}

}  // namespace
}  // namespace switchyard::kernels
