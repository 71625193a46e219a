// What holds for every convention, and what is refused.

#include "kernels/router/convention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/router/routed.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

constexpr int64_t kExperts = 16;
constexpr float kInfinity = INFINITY;

RouterConvention Named(const std::string& name) {
  const absl::StatusOr<RouterConvention> found = FindConvention(name);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.ok() ? *found : RouterConvention{};
}

// Inputs of any convention for some rows.
struct Input {
  explicit Input(int64_t count)
      : rows(count),
        logits(RandomValues(count * kExperts, 1, 3.0f)),
        gumbel(RandomValues(count * kExperts, 2)),
        noise(RandomValues(count * kExperts, 3)),
        noise_logits(RandomValues(count * kExperts, 4)),
        bias(RandomValues(kExperts, 5, 0.2f)),
        uniform(RandomValues(count, 6, 0.1f)) {
    for (float& value : uniform) value = std::abs(value);
    for (int64_t row = count - 1; row >= 0; --row) permutation.push_back(static_cast<int32_t>(row));
  }

  // The rows of `range`; k is what the convention needs, else 4.
  RouterArgs Args(const RouterConvention& convention, RowRange range) const {
    return {.convention = &convention,
            .logits = logits.data() + range.begin * kExperts,
            .rows = range.end - range.begin,
            .experts = kExperts,
            .k = convention.required_k != 0 ? convention.required_k : 4,
            .bias = bias.data(),
            .uniform = uniform.data() + range.begin,
            .gumbel = gumbel.data() + range.begin * kExperts,
            .noise = noise.data() + range.begin * kExperts,
            .noise_logits = noise_logits.data() + range.begin * kExperts,
            .permutation = permutation.data()};
  }
  RouterArgs Args(const RouterConvention& convention) const { return Args(convention, {0, rows}); }

  int64_t rows;
  std::vector<float> logits, gumbel, noise, noise_logits, bias, uniform;
  std::vector<int32_t> permutation;
};

std::vector<std::string> ServingNames() {
  std::vector<std::string> names = ConventionNames();
  std::erase(names, "expert-choice");
  return names;
}

class EveryConventionTest : public ::testing::TestWithParam<std::string> {};

// Places depend on the other rows by definition, what is chosen and its weight does not.
TEST_P(EveryConventionTest, RowsDoNotInfluenceEachOther) {
  RouterConvention convention = Named(GetParam());
  convention.capacity = {};
  const Input input(37);
  const Routed all = RouteForTest(input.Args(convention));
  ASSERT_TRUE(all.status.ok()) << all.status;
  const int64_t k = input.Args(convention).k;
  for (int64_t row = 0; row < input.rows; ++row) {
    RouterArgs args = input.Args(convention, {row, row + 1});
    const int32_t first = 0;
    args.permutation = &first;
    const Routed one = RouteForTest(args);
    const auto ids = all.ids.begin() + row * k;
    const auto weights = all.weights.begin() + row * k;
    EXPECT_EQ(one.ids, (std::vector<int32_t>{ids, ids + k})) << "row " << row;
    EXPECT_TRUE(SameBits(one.weights, std::vector<float>{weights, weights + k})) << "row " << row;
  }
}

TEST_P(EveryConventionTest, ThreadsDoNotMatter) {
  const RouterConvention convention = Named(GetParam());
  const Input input(101);
  const Routed one = RouteForTest(input.Args(convention), 1);
  const Routed four = RouteForTest(input.Args(convention), 4);
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.position, four.position);
  EXPECT_TRUE(SameBits(one.weights, four.weights));
}

TEST_P(EveryConventionTest, OptionalOutputsDoNotMatter) {
  const RouterConvention convention = Named(GetParam());
  const Input input(20);
  const Routed expected = RouteForTest(input.Args(convention));
  RouterArgs args = input.Args(convention);
  std::vector<int32_t> ids(expected.ids.size());
  std::vector<float> weights(ids.size());
  std::vector<uint8_t> failed(20);
  args.ids = ids.data();
  args.weights = weights.data();
  args.failed = failed.data();
  ThreadPool pool(1);
  ASSERT_TRUE(Route(args, pool).ok());
  EXPECT_EQ(ids, expected.ids);
  EXPECT_TRUE(SameBits(weights, expected.weights));
}

// The other rows are those of a batch without the failed ones: these take no slot either.
TEST_P(EveryConventionTest, RowsFailAlone) {
  RouterConvention convention = Named(GetParam());
  convention.capacity = {.formula = CapacityFormula::kFixed, .fixed = 2};
  Input input(12);
  input.logits[9 * kExperts + 3] = NAN;
  input.logits[10 * kExperts + 5] = kInfinity;
  std::fill_n(input.logits.begin() + 11 * kExperts, kExperts, -kInfinity);
  for (int32_t i = 0; i < 12; ++i) input.permutation[i] = 11 - i;
  const Routed routed = RouteForTest(input.Args(convention));
  ASSERT_TRUE(routed.status.ok()) << routed.status;
  EXPECT_EQ(routed.failed, (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}));
  for (int32_t i = 0; i < 9; ++i) input.permutation[i] = 8 - i;
  const Routed healthy = RouteForTest(input.Args(convention, {0, 9}));
  const size_t choices = healthy.ids.size();
  for (size_t i = 0; i < routed.ids.size(); ++i) {
    EXPECT_EQ(routed.ids[i], i < choices ? healthy.ids[i] : -1);
    EXPECT_EQ(routed.chosen[i], i < choices ? healthy.chosen[i] : -1);
    EXPECT_EQ(routed.position[i], i < choices ? healthy.position[i] : -1);
    EXPECT_TRUE(SameBits(routed.weights[i], i < choices ? healthy.weights[i] : 0.0f));
  }
}

TEST_P(EveryConventionTest, HugeAndEqualLogitsHaveAnAnswer) {
  const RouterConvention convention = Named(GetParam());
  Input input(4);
  std::fill_n(input.noise.begin(), input.noise.size(), 0.0f);
  std::fill_n(input.gumbel.begin(), input.gumbel.size(), 0.0f);
  std::fill_n(input.bias.begin(), input.bias.size(), 0.0f);
  std::fill_n(input.logits.begin(), kExperts, 0.0f);
  std::fill_n(input.logits.begin() + kExperts, kExperts, 3e38f);
  std::fill_n(input.logits.begin() + 2 * kExperts, kExperts, -3e38f);
  std::fill_n(input.logits.begin() + 3 * kExperts, kExperts, -3e38f);
  input.logits[3 * kExperts] = 3e38f;
  const RouterArgs args = input.Args(convention);
  const Routed routed = RouteForTest(args);
  ASSERT_TRUE(routed.status.ok()) << routed.status;
  EXPECT_EQ(routed.failed, std::vector<uint8_t>(4, 0));
  for (size_t i = 0; i < routed.ids.size(); ++i) {
    EXPECT_EQ(routed.chosen[i], static_cast<int64_t>(i) % args.k);
    EXPECT_TRUE(std::isfinite(routed.weights[i]));
  }
}

TEST_P(EveryConventionTest, NoRowsAreFine) {
  const RouterConvention convention = Named(GetParam());
  const Input input(0);
  EXPECT_TRUE(RouteForTest(input.Args(convention)).status.ok());
}

INSTANTIATE_TEST_SUITE_P(Names, EveryConventionTest, ::testing::ValuesIn(ServingNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(CapacityScopeTest, ASequenceCountsForItself) {
  RouterConvention convention = Named("switch");
  convention.capacity.fixed = 1;
  const Input input(30);
  const std::vector<RowRange> sequences = {{0, 7}, {7, 8}, {8, 8}, {8, 30}};
  RouterArgs args = input.Args(convention);
  args.sequences = sequences;
  const Routed all = RouteForTest(args);
  std::vector<int32_t> ids, positions;
  for (const RowRange& range : sequences) {
    const Routed part = RouteForTest(input.Args(convention, range));
    ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    positions.insert(positions.end(), part.position.begin(), part.position.end());
  }
  EXPECT_EQ(all.ids, ids);
  EXPECT_EQ(all.position, positions);
  convention.capacity_scope = CapacityScope::kBatch;
  EXPECT_NE(RouteForTest(args).ids, ids);
}

TEST(CapacityScopeTest, AGroupIsACutOfTheRows) {
  RouterConvention convention = Named("mesh");
  convention.group_rows = 10;
  const Input input(25);
  const Routed groups = RouteForTest(input.Args(convention));
  convention.capacity_scope = CapacityScope::kSequence;
  const std::vector<RowRange> cut = {{0, 10}, {10, 20}, {20, 25}};
  RouterArgs args = input.Args(convention);
  args.sequences = cut;
  EXPECT_EQ(groups.position, RouteForTest(args).position);
}

TEST(SecondExpertTest, PoliciesDecideByTheNormalisedWeight) {
  RouterConvention convention = Named("mesh");
  const Input input(50);
  const auto sent = [&](SecondPolicy policy, float threshold) {
    convention.second = {.policy = policy, .threshold = threshold};
    convention.capacity = {};
    const Routed routed = RouteForTest(input.Args(convention));
    std::vector<bool> second;
    for (size_t i = 1; i < routed.ids.size(); i += 2) second.push_back(routed.ids[i] >= 0);
    return second;
  };
  convention.second = {};
  convention.capacity = {};
  const Routed plain = RouteForTest(input.Args(convention));
  std::vector<bool> above, drawn;
  for (size_t row = 0; row < 50; ++row) {
    above.push_back(plain.weights[2 * row + 1] > 0.3f);
    drawn.push_back(input.uniform[row] < plain.weights[2 * row + 1] / 0.3f);
  }
  EXPECT_EQ(sent(SecondPolicy::kAll, 0.3f), std::vector<bool>(50, true));
  EXPECT_EQ(sent(SecondPolicy::kNone, 0.3f), std::vector<bool>(50, false));
  EXPECT_EQ(sent(SecondPolicy::kThreshold, 0.3f), above);
  EXPECT_EQ(sent(SecondPolicy::kRandom, 0.3f), drawn);
}

TEST(GroupLimitedTest, ABrokenBiasFailsTheRow) {
  const RouterConvention convention = Named("deepseek-v3");
  Input input(2);
  input.bias[7] = NAN;
  EXPECT_EQ(RouteForTest(input.Args(convention)).failed, (std::vector<uint8_t>{1, 1}));
}

TEST(GroupLimitedTest, OneGroupOfDeepseekV2IsGreedy) {
  RouterConvention limited = Named("deepseek-v2");
  limited.groups = 4;
  limited.kept_groups = 4;
  limited.scale = 1.0f;
  const RouterConvention greedy = Named("deepseek-v2-lite");
  const Input input(20);
  const Routed a = RouteForTest(input.Args(limited)), b = RouteForTest(input.Args(greedy));
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_TRUE(SameBits(a.weights, b.weights));
}

// What is refused, and a word of why.
struct Refusal {
  const char* convention;
  void (*change)(RouterConvention&);
  const char* why;
  int64_t k = 4;
};

TEST(ConventionTest, BadKnobsAreRefused) {
  const std::vector<Refusal> refusals = {
      {"mixtral", [](auto&) {}, "k is 0", 0},
      {"mixtral", [](auto&) {}, "k is 17", 17},
      {"switch", [](auto&) {}, "k is 4, not 1"},
      {"gshard", [](auto&) {}, "not 2"},
      {"phimoe", [](auto& c) { c.required_k = 0; }, "k is 4, not 2"},
      {"phimoe", [](auto& c) { c.mixer_jitter = NAN; }, "mixer_jitter", 2},
      {"noisy-topk", [](auto& c) { c.scoring = Scoring::kSigmoid; }, "softmax of the chosen"},
      {"expert-choice", [](auto&) {}, "not serve"},
      {"mixtral", [](auto& c) { c.groups = 3; }, "do not divide into 3 groups"},
      {"deepseek-v3", [](auto& c) { c.kept_groups = 9; }, "keeps 9 of 8 groups"},
      {"deepseek-v3", [](auto& c) { c.kept_groups = 1; }, "kept groups have 2 experts"},
      {"deepseek-v3", [](auto& c) { c.groups = c.kept_groups = 16; }, "two experts a group"},
      {"deepseek-v2", [](auto& c) { c.group_score = GroupScore::kTop2Sum; }, "sigmoid scores"},
      {"gpt-oss", [](auto& c) { c.groups = 2; }, "limited to groups"},
      {"mixtral", [](auto& c) { c.correction_bias = true; }, "correction bias"},
      {"mixtral", [](auto& c) { c.scale = kInfinity; }, "scale is inf"},
      {"mixtral", [](auto& c) { c.scale = 0; }, "scale is 0"},
      {"mixtral", [](auto& c) { c.norm_floor = -1; }, "norm_floor"},
      {"mixtral", [](auto& c) { c.normalization = Normalization::kKept; }, "after drops"},
      {"tutel", [](auto& c) { c.capacity.factor = -1; }, "capacity factor is -1"},
      {"switch", [](auto& c) { c.capacity.fixed = 0; }, "fixed capacity is 0", 1},
      {"megablocks", [](auto& c) { c.capacity.expert_parallel = 0; }, "expert_parallel"},
      {"mesh", [](auto& c) { c.group_rows = 0; }, "group_rows", 2},
      {"mesh", [](auto& c) { c.second.threshold = 0; }, "threshold", 2},
      {"mixtral", [](auto& c) { c.second.policy = SecondPolicy::kNone; }, "second-expert"},
  };
  for (const Refusal& refusal : refusals) {
    RouterConvention convention = Named(refusal.convention);
    refusal.change(convention);
    const absl::Status status = CheckConvention(convention, kExperts, refusal.k);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << refusal.why;
    const std::string message(status.message());
    EXPECT_NE(message.find(refusal.why), std::string::npos) << message;
    EXPECT_NE(message.find(refusal.convention), std::string::npos) << message;
  }
  EXPECT_FALSE(CheckConvention(Named("mixtral"), 5000, 2).ok());
}

TEST(ConventionTest, UnknownNamesAreRefusedWithThoseThereAre) {
  const absl::Status status = FindConvention("mixtrall").status();
  EXPECT_NE(status.message().find("mixtral,"), std::string::npos) << status;
  EXPECT_FALSE(FindBalanceLoss("none").ok());
}

TEST(RouteTest, MissingInputsAreRefused) {
  const Input input(6);
  const auto refused = [&](const char* name, auto change) {
    const RouterConvention convention = Named(name);
    RouterArgs args = input.Args(convention);
    change(args);
    const Routed routed = RouteForTest(args);
    EXPECT_EQ(routed.failed, std::vector<uint8_t>(6, 2)) << "nothing is written";
    return std::string(routed.status.message());
  };
  const auto contains = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  const std::vector<RowRange> gap = {{0, 2}, {3, 6}}, reversed = {{0, 4}, {4, 2}}, few = {{0, 5}};
  EXPECT_TRUE(contains(refused("mixtral", [](RouterArgs& a) { a.convention = nullptr; }),
                       "no router convention"));
  EXPECT_TRUE(
      contains(refused("mixtral", [](RouterArgs& a) { a.logits = nullptr; }), "needs logits"));
  EXPECT_TRUE(
      contains(refused("deepseek-v3", [](RouterArgs& a) { a.bias = nullptr; }), "correction bias"));
  EXPECT_TRUE(contains(refused("gshard", [](RouterArgs& a) { a.uniform = nullptr; }), "uniform"));
  EXPECT_TRUE(contains(refused("noisy-topk", [](RouterArgs& a) { a.noise_logits = nullptr; }),
                       "noise_logits"));
  EXPECT_TRUE(contains(refused("deepspeed-top1", [](RouterArgs& a) { a.permutation = nullptr; }),
                       "permutation"));
  const std::vector<int32_t> twice = {0, 1, 2, 3, 4, 4};
  EXPECT_TRUE(contains(
      refused("deepspeed-top1", [&](RouterArgs& a) { a.permutation = twice.data(); }), "permute"));
  EXPECT_TRUE(contains(refused("switch", [&](RouterArgs& a) { a.sequences = gap; }), "after row"));
  EXPECT_TRUE(
      contains(refused("switch", [&](RouterArgs& a) { a.sequences = reversed; }), "rows 4 to 2"));
  EXPECT_TRUE(contains(refused("switch", [&](RouterArgs& a) { a.sequences = few; }), "5 of 6"));
}

}  // namespace
}  // namespace switchyard::kernels
