#include "kernels/sampling/logit_edits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace switchyard::kernels {
namespace {

std::vector<float> Apply(const LogitEdits& edits, const std::vector<float>& logits) {
  std::vector<float> edited(logits.size());
  edits.Apply(logits, edited);
  return edited;
}

// The definitions, one token of the vocabulary at a time.
std::vector<float> ByDefinition(const LogitEditParameters& parameters,
                                const std::vector<float>& logits,
                                const std::vector<int32_t>& prompt,
                                const std::vector<int32_t>& output) {
  std::vector<float> edited = logits;
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    const auto times = [id](const std::vector<int32_t>& tokens) {
      return static_cast<float>(std::count(tokens.begin(), tokens.end(), id));
    };
    float& logit = edited[id];
    if (!parameters.allowed.empty() && times(parameters.allowed) == 0) logit = -INFINITY;
    for (const auto& word : parameters.bad_words) {
      const size_t before = word.size() - 1;
      if (word.back() == id && output.size() >= before &&
          std::equal(word.begin(), word.end() - 1, output.end() - before)) {
        logit = -INFINITY;
      }
    }
    for (const LogitBias& bias : parameters.bias) logit += bias.token == id ? bias.bias : 0;
    if (times(prompt) + times(output) > 0) {
      logit =
          logit > 0 ? logit / parameters.repetition_penalty : logit * parameters.repetition_penalty;
    }
    logit -= parameters.frequency_penalty * times(output);
    if (times(output) > 0) logit -= parameters.presence_penalty;
  }
  return edited;
}

TEST(LogitEditsTest, FollowTheirDefinitionTokenByToken) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 4);
  const auto token = [&random] { return static_cast<int32_t>(random() % 40); };
  for (int round = 0; round < 50; ++round) {
    std::vector<float> logits(40);
    for (float& logit : logits) logit = normal(random);
    LogitEditParameters parameters{.repetition_penalty = 1.3f,
                                   .presence_penalty = 0.7f,
                                   .frequency_penalty = -0.4f,
                                   .bias = {{3, 5.0f}, {17, -100.0f}},
                                   .bad_words = {{5}, {6, 7}, {6, 7, 6}}};
    if (round % 2 == 0) parameters.allowed = {1, 3, 5, 6, 7, 30, 39};
    const std::vector<int32_t> prompt = {token(), token(), token(), 6};
    std::vector<int32_t> output = {token(), token()};
    LogitEdits edits(parameters, prompt, output, 20);
    for (int step = 0; step < 20; ++step) {
      EXPECT_EQ(Apply(edits, logits), ByDefinition(parameters, logits, prompt, output));
      output.push_back(step % 3 == 0 ? 6 : step % 3 == 1 ? 7 : token());
      edits.Observe(output.back());
    }
    // A request that went on elsewhere with the tokens so far sees the same.
    EXPECT_EQ(Apply(LogitEdits(parameters, prompt, output, 0), logits), Apply(edits, logits));
  }
}

TEST(LogitEditsTest, BadWordsLookAtTheOutputOnly) {
  LogitEdits edits({.bad_words = {{1, 2}}}, std::vector<int32_t>{1}, {}, 5);
  const std::vector<float> logits(3, 1.0f);
  EXPECT_EQ(Apply(edits, logits), logits);
  edits.Observe(1);
  EXPECT_EQ(Apply(edits, logits), (std::vector<float>{1, 1, -INFINITY}));
  edits.Observe(0);
  EXPECT_EQ(Apply(edits, logits), logits);
}

TEST(LogitEditsTest, WhatIsForgottenWasNeverThere) {
  const LogitEditParameters parameters{.repetition_penalty = 1.3f,
                                       .presence_penalty = 0.7f,
                                       .frequency_penalty = 0.4f,
                                       .bad_words = {{1, 2}, {4, 4, 5}}};
  const std::vector<int32_t> prompt = {1, 3};
  const std::vector<float> logits = {1, -1, 2, -2, 3, 0.5f};
  std::vector<int32_t> output = {1, 4};
  LogitEdits edits(parameters, prompt, output, 8);
  const std::vector<int32_t> guesses = {4, 1, 0, 0, 3, 5};
  for (const int32_t token : guesses) {
    edits.Observe(token);
    output.push_back(token);
    EXPECT_EQ(Apply(edits, logits), ByDefinition(parameters, logits, prompt, output));
  }
  for (size_t i = guesses.size(); i-- > 0;) {
    edits.Forget(guesses[i]);
    output.pop_back();
    EXPECT_EQ(Apply(edits, logits), ByDefinition(parameters, logits, prompt, output));
  }
}

TEST(LogitEditsTest, NoneIsWhatDefaultsAre) {
  EXPECT_TRUE(LogitEdits({}, std::vector<int32_t>{1}, std::vector<int32_t>{2}, 3).none());
  EXPECT_FALSE(LogitEdits({.repetition_penalty = 1.1f}, {}, {}, 3).none());
  EXPECT_FALSE(LogitEdits({.allowed = {1}}, {}, {}, 3).none());
}

}  // namespace
}  // namespace switchyard::kernels
