#include "kernels/sampling/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/base/math.h"
#include "kernels/base/test_levels.h"
#include "kernels/sampling/philox.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;

// Known answers of the Random123 distribution.
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(GumbelNoiseTest, HasTheMomentsOfTheDistribution) {
  const int count = 400000;
  double sum = 0, squares = 0, above_3 = 0;
  for (int i = 0; i < count; ++i) {
    const double noise = GumbelNoise(11, i / 1000, i % 1000);
    ASSERT_TRUE(std::isfinite(noise));
    sum += noise;
    squares += noise * noise;
    above_3 += noise > 3;
  }
  const double mean = sum / count;
  EXPECT_NEAR(mean, 0.577216, 0.01);
  EXPECT_NEAR(squares / count - mean * mean, 1.644934, 0.02);
  EXPECT_NEAR(above_3 / count, 1 - std::exp(-std::exp(-3.0)), 0.001);
}

TEST(GumbelNoiseTest, DependsOnEachPartOfItsKey) {
  const float noise = GumbelNoise(1, 2, 3);
  EXPECT_NE(GumbelNoise(1 + (uint64_t{1} << 32), 2, 3), noise);
  EXPECT_NE(GumbelNoise(2, 2, 3), noise);
  EXPECT_NE(GumbelNoise(1, 3, 3), noise);
  EXPECT_NE(GumbelNoise(1, 2, 4), noise);
  EXPECT_NE(GumbelNoise(1, 2, 7), noise);
}

// The definition without any shortcut.
int32_t SampleByDefinition(const std::vector<float>& logits, const SamplingParameters& parameters,
                           int64_t position) {
  int32_t best = -1;
  float best_score = -INFINITY;
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    const float score =
        logits[id] / parameters.temperature + GumbelNoise(parameters.seed, position, id);
    if (score > best_score) {
      best = id;
      best_score = score;
    }
  }
  return best;
}

TEST(SampleTokenTest, EqualsTheDefinition) {
  SamplingWorkspace workspace;
  for (float scale : {0.0f, 0.5f, 3.0f, 20.0f}) {
    for (int64_t size : {1, 3, 50, 4001}) {
      const std::vector<float> logits = RandomValues(size, 5, scale);
      for (int64_t position = 0; position < 60; ++position) {
        const SamplingParameters parameters{.temperature = 0.8f, .seed = 1234567890123};
        EXPECT_EQ(SampleToken(logits, parameters, position, workspace),
                  SampleByDefinition(logits, parameters, position));
      }
    }
  }
}

TEST(SampleTokenTest, IsTheSameAtEveryLevel) {
  const std::vector<float> logits = RandomValues(5000, 9, 2.0f);
  for (int64_t position = 0; position < 50; ++position) {
    std::vector<int32_t> tokens;
    for (CpuLevel level : RunnableCpuLevels()) {
      ScopedCpuLevel scope(level);
      SamplingWorkspace workspace;
      tokens.push_back(SampleToken(logits, {.top_p = 0.95f, .seed = 4}, position, workspace));
    }
    EXPECT_EQ(tokens, std::vector<int32_t>(tokens.size(), tokens[0]));
  }
}

TEST(SampleTokenTest, FollowsTheProbabilities) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(3.0f), std::log(4.0f)};
  const int draws = 40000;
  SamplingWorkspace workspace;
  std::vector<double> share(4);
  for (int i = 0; i < draws; ++i) {
    share[SampleToken(logits, {.seed = 99}, i, workspace)] += 1.0 / draws;
  }
  for (int id = 0; id < 4; ++id) EXPECT_NEAR(share[id], (id + 1) / 10.0, 0.012) << id;
}

TEST(SampleTokenTest, ChoosesOnlyKeptTokens) {
  const std::vector<float> logits = RandomValues(500, 2);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  SamplingWorkspace workspace;
  for (int64_t position = 0; position < 500; ++position) {
    const int32_t token = SampleToken(logits, {.top_k = 7, .seed = 1}, position, workspace);
    EXPECT_LT(std::find(order.begin(), order.end(), token) - order.begin(), 7);
    EXPECT_EQ(SampleToken(logits, {.top_p = 1e-4f, .seed = 1}, position, workspace), order[0]);
  }
}

TEST(SampleTokenTest, GreedyTakesTheLowestOfEquals) {
  SamplingWorkspace workspace;
  const std::vector<float> logits = {1, 5, 5, -INFINITY};
  EXPECT_EQ(SampleToken(logits, {.temperature = 0}, 0, workspace), 1);
  EXPECT_EQ(SampleToken(logits, {.temperature = 1e-6f}, 0, workspace), 1);
}

TEST(SampleTokenTest, FailsWithoutAnAnswer) {
  SamplingWorkspace workspace;
  for (float temperature : {0.0f, 1.0f}) {
    const SamplingParameters parameters{.temperature = temperature};
    for (const std::vector<float>& logits :
         {std::vector<float>{1, NAN, 2}, {INFINITY, 1}, {-INFINITY, -INFINITY}}) {
      EXPECT_EQ(SampleToken(logits, parameters, 0, workspace), -1);
    }
    EXPECT_EQ(SampleToken(std::vector<float>{-INFINITY, 3}, parameters, 0, workspace), 1);
  }
  // Overflow of logit / temperature is no failure.
  EXPECT_EQ(SampleToken(std::vector<float>{1e37f, 3e37f}, {.temperature = 0.01f}, 0, workspace), 1);
}

TEST(LogprobsTest, RanksAndTop) {
  const std::vector<float> logits = {0, 2, -INFINITY, 2, 1};
  const LogprobResult result = Logprobs(logits, 3, 3);
  const double total = std::log(1 + 2 * std::exp(2.0) + std::exp(1.0));
  EXPECT_NEAR(result.logprob, 2 - total, 1e-6);
  EXPECT_EQ(result.rank, 1);
  ASSERT_EQ(result.top.size(), 3u);
  EXPECT_EQ(result.top[0].token, 1);
  EXPECT_EQ(result.top[1].token, 3);
  EXPECT_EQ(result.top[2].token, 4);
  EXPECT_NEAR(result.top[2].logprob, 1 - total, 1e-6);

  EXPECT_EQ(Logprobs(logits, 2, 0).logprob, -INFINITY);
  EXPECT_EQ(Logprobs(logits, 2, 99).top.size(), 5u);
  EXPECT_TRUE(std::isnan(Logprobs(std::vector<float>{NAN, 1}, 1, 2).logprob));
}

}  // namespace
}  // namespace switchyard::kernels
