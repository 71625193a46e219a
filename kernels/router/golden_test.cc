// Every convention against ../shared/fixtures/routers: choices, drops, places, weights and losses.

#include <gtest/gtest.h>

#include "bazel/fixtures/fixtures.h"
#include "kernels/router/golden_case.h"
#include "kernels/router/losses.h"
#include "kernels/router/routed.h"
#include "kernels/testing/devices.h"

namespace switchyard::kernels {
namespace {

// The values are rounded from fp64. A weight is a handful of fp32 operations and two exponentials
// away, a loss a few more.
constexpr float kWeightTolerance = 6e-7f;
constexpr float kLossTolerance = 2e-6f;

struct Golden {
  const char* file;
  const char* convention;
  void (*change)(RouterConvention&) = nullptr;  // knobs in which the file differs
};

constexpr Golden kGoldens[] = {
    {"softmax_topk", "megablocks", [](RouterConvention& c) { c.capacity = {}; }},
    {"softmax_topk_renorm", "mixtral"},
    {"topk_softmax", "megatron"},
    {"group_limited_greedy", "deepseek-v2", [](RouterConvention& c) { c.balance = {}; }},
    {"sigmoid_group_limited_neg_inf_fill", "deepseek-v3"},
    {"sigmoid_group_limited_zero_fill", "deepseek-v3-zero-fill"},
    {"sparse_mixer", "phimoe", [](RouterConvention& c) { c.balance = {}; }},
    {"switch_top1_per_sequence", "switch"},
    {"switch_top1_whole_batch", "switch-paper"},
    {"gshard_top2", "gshard"},
    {"glam_top2", "glam"},
    {"mesh_top2", "mesh"},
    {"deepspeed_top2", "deepspeed"},
    {"tutel_topk", "tutel"},
    {"capacity_probability", "megatron", [](RouterConvention& c) { c.z_coefficient = 0; }},
    {"capacity_position_token_major", "megatron",
     [](RouterConvention& c) {
       c.drop_order = DropOrder::kTokenMajor;
       c.z_coefficient = 0;
     }},
    {"capacity_position_choice_major", "megatron",
     [](RouterConvention& c) {
       c.drop_order = DropOrder::kChoiceMajor;
       c.z_coefficient = 0;
     }},
    {"capacity_random", "megatron",
     [](RouterConvention& c) {
       c.drop_order = DropOrder::kRandom;
       c.z_coefficient = 0;
     }},
};

RouterConvention ConventionOf(const Golden& golden, const GoldenCase& test) {
  RouterConvention convention = *FindConvention(golden.convention);
  if (golden.change) golden.change(convention);
  convention.groups = test.Get("n_group", int64_t{1});
  convention.kept_groups = test.Get("topk_group", int64_t{1});
  convention.scale = test.Get("scale", 1.0f);
  convention.mixer_jitter = test.Get("eps", 0.0f);
  if (!test.Get("norm_topk_prob", true)) convention.normalization = Normalization::kNone;
  if (test.parameters().contains("capacity")) {
    convention.capacity = {.formula = CapacityFormula::kFixed, .fixed = test.Int("capacity")};
  }
  if (convention.balance.coefficient > 0) convention.balance.coefficient = test.Get("alpha", 0.0f);
  if (!test.Get("has_loss", true)) convention.balance.coefficient = 0;
  if (convention.z_coefficient > 0) convention.z_coefficient = test.Get("z", 0.0f);
  // The files leave the z-loss out where a logit is -inf; not all of them say so.
  if (!test.Get("z_loss_included", !test.name().starts_with("neg_inf"))) {
    convention.z_coefficient = 0;
  }
  return convention;
}

RouterArgs ArgsOf(const RouterConvention& convention, const GoldenCase& test,
                  std::span<const RowRange> sequences) {
  return {.convention = &convention,
          .logits = test.Find<float>("logits"),
          .rows = test.Int("T"),
          .experts = test.Int("E"),
          .k = test.Int("K"),
          .bias = test.Find<float>("bias"),
          .sequences = sequences,
          .uniform = test.Find<float>("uniform"),
          .gumbel = test.Find<float>("gumbel"),
          .permutation = test.Find<int32_t>("permutation")};
}

void ExpectRouted(const GoldenCase& test, const Routed& routed) {
  EXPECT_EQ(routed.chosen, test.Values<int32_t>("ids"));
  ExpectClose(routed.weights, test.Values<float>("weights"), kWeightTolerance, "weight");
  if (test.Has("position")) {
    EXPECT_EQ(routed.position, test.Values<int32_t>("position"));
  }
  std::vector<int32_t> kept_ids = test.Values<int32_t>("ids");
  if (test.Has("kept")) {
    const std::vector<uint8_t> kept = test.Values<uint8_t>("kept");
    for (size_t i = 0; i < kept.size(); ++i) kept_ids[i] = kept[i] ? kept_ids[i] : -1;
  }
  EXPECT_EQ(routed.ids, kept_ids);
  EXPECT_EQ(routed.failed, std::vector<uint8_t>(routed.failed.size(), 0));
}

void ExpectDevicesRoute(const GoldenCase& test, RouterArgs args) {
  const Floats logits(args.logits, args.logits + args.rows * args.experts);
  args.logits = logits.data();
  Floats bias;
  if (args.bias != nullptr) {
    bias.assign(args.bias, args.bias + args.experts);
    args.bias = bias.data();
  }
  for (Device* device : testing::TestDevices()) {
    SCOPED_TRACE(device->name());
    const Routed routed =
        RouteForTestWith(args, [&](const RouterArgs& own) { return device->Route(own); });
    ASSERT_TRUE(routed.status.ok()) << routed.status;
    ExpectRouted(test, routed);
  }
}

class RouterGoldenTest : public ::testing::TestWithParam<Golden> {};

TEST_P(RouterGoldenTest, RoutesAsExpected) {
  const std::string stem = std::string("routers/") + GetParam().file;
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, stem + ".json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, stem + ".safetensors");
  const GoldenFile file(list_path, tensor_path);
  ASSERT_FALSE(file.cases.empty());
  for (const GoldenCase& test : file.cases) {
    SCOPED_TRACE(test.name());
    const RouterConvention convention = ConventionOf(GetParam(), test);
    const std::vector<RowRange> sequences =
        EqualSequences(test.Int("T"), test.Get("B", int64_t{1}));
    const RouterArgs args = ArgsOf(convention, test, sequences);
    for (int threads : {1, 3}) {
      const Routed routed = RouteForTest(args, threads);
      ASSERT_TRUE(routed.status.ok()) << routed.status;
      ExpectRouted(test, routed);
    }
    ExpectDevicesRoute(test, args);
    const Routed routed = RouteForTest(args);
    const float loss = RouterLoss(convention, {.logits = args.logits,
                                               .rows = args.rows,
                                               .experts = args.experts,
                                               .k = args.k,
                                               .chosen = routed.chosen.data(),
                                               .sequences = {}});
    ExpectClose({loss}, test.Values<float>("loss"), kLossTolerance, "loss");
  }
}

INSTANTIATE_TEST_SUITE_P(Files, RouterGoldenTest, ::testing::ValuesIn(kGoldens),
                         [](const auto& info) { return info.param.file; });

}  // namespace
}  // namespace switchyard::kernels
