#include "kernels/router/router.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

struct Choice {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<uint8_t> failed;
};

const RouterConvention kMixtral = *FindConvention("mixtral");     // weights divided by their sum
const RouterConvention kQwen2Moe = *FindConvention("qwen2-moe");  // and not

RouterArgs Args(const std::vector<float>& logits, int64_t experts, int64_t k,
                const RouterConvention& convention, Choice& choice) {
  const size_t rows = logits.size() / static_cast<size_t>(experts);
  choice.ids.assign(rows * k, -2);
  choice.weights.assign(rows * k, -2.0f);
  choice.failed.assign(rows, 2);
  return {.convention = &convention,
          .logits = logits.data(),
          .rows = static_cast<int64_t>(rows),
          .experts = experts,
          .k = k,
          .ids = choice.ids.data(),
          .weights = choice.weights.data(),
          .failed = choice.failed.data()};
}

Choice Routed(const std::vector<float>& logits, int64_t experts, int64_t k,
              const RouterConvention& convention = kMixtral, int threads = 1) {
  Choice choice;
  ThreadPool pool(threads);
  const absl::Status status = Route(Args(logits, experts, k, convention, choice), pool);
  EXPECT_TRUE(status.ok()) << status;
  return choice;
}

TEST(RouterTest, EqualsTheReference) {
  for (const auto& [experts, k] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {8, 2}, {16, 4}, {60, 4}, {64, 64}, {256, 8}}) {
    for (const RouterConvention* convention : {&kMixtral, &kQwen2Moe}) {
      std::vector<float> logits = RandomValues(45 * experts, 1, 4.0f);
      // Coarse values make ties; special ones take the other paths.
      for (size_t i = 0; i < logits.size() / 2; ++i) logits[i] = std::round(logits[i]);
      logits[experts * 3] = NAN;
      logits[experts * 4] = -INFINITY;
      logits[experts * 5] = INFINITY;
      Choice expected;
      SoftmaxTopKReference(Args(logits, experts, k, *convention, expected));
      for (int threads : {1, 3}) {
        const Choice actual = Routed(logits, experts, k, *convention, threads);
        EXPECT_EQ(actual.ids, expected.ids) << experts << " experts";
        EXPECT_TRUE(SameBits(actual.weights, expected.weights)) << experts << " experts";
        EXPECT_EQ(actual.failed, expected.failed);
      }
    }
  }
}

TEST(RouterTest, EqualLogitsChooseTheLowestIds) {
  const Choice choice = Routed({1, 1, 1, 1, 0, 2, 0, 2}, 4, 2);
  EXPECT_EQ(choice.ids, (std::vector<int32_t>{0, 1, 1, 3}));
  EXPECT_EQ(choice.weights, (std::vector<float>{0.5, 0.5, 0.5, 0.5}));
}

TEST(RouterTest, UnequalLogitsNeverTie) {
  // Their exponentials are equal in fp32, or both zero.
  const Choice choice = Routed({std::nextafter(-10.0f, -20.0f), -10, 0, -250, -200, 0}, 3, 3);
  EXPECT_EQ(choice.ids, (std::vector<int32_t>{2, 1, 0, 2, 1, 0}));
}

TEST(RouterTest, RowWithoutAnAnswerFailsAlone) {
  const Choice choice =
      Routed({1, 2, NAN, 2, INFINITY, 2, -INFINITY, -INFINITY, 3, -INFINITY}, 2, 2);
  EXPECT_EQ(choice.failed, (std::vector<uint8_t>{0, 1, 1, 1, 0}));
  EXPECT_EQ(choice.ids, (std::vector<int32_t>{1, 0, -1, -1, -1, -1, -1, -1, 0, 1}));
  EXPECT_EQ(choice.weights[2], 0.0f);
  EXPECT_EQ(choice.weights[8], 1.0f);
  EXPECT_EQ(choice.weights[9], 0.0f);
}

}  // namespace
}  // namespace switchyard::kernels
