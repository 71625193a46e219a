// Losses, bias update, capacity formulas, noisy top-k and expert choice against
// ../shared/fixtures/routers.

#include "kernels/router/losses.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bazel/fixtures/fixtures.h"
#include "kernels/router/bias_update.h"
#include "kernels/router/expert_choice.h"
#include "kernels/router/golden_case.h"
#include "kernels/router/importance.h"
#include "kernels/router/routed.h"

namespace switchyard::kernels {
namespace {

constexpr float kWeightTolerance = 6e-7f;
constexpr float kLossTolerance = 2e-6f;

// The parts of all ranks of Megatron's global loss, a sequence being a rank.
std::vector<float> GlobalParts(const LossArgs& all) {
  std::vector<int64_t> counts(static_cast<size_t>(all.experts));
  for (int64_t i = 0; i < all.rows * all.k; ++i) ++counts[all.chosen[i]];
  std::vector<float> parts;
  for (const RowRange& range : all.sequences) {
    LossArgs rank = all;
    rank.logits += range.begin * all.experts;
    rank.rows = range.end - range.begin;
    rank.chosen += range.begin * all.k;
    rank.counts = counts.data();
    rank.count_rows = all.rows;
    parts.push_back(BalanceLossValue(*FindBalanceLoss("megatron_global"), rank));
  }
  return parts;
}

float ImportanceOf(const RouterArgs& softmax) {
  const RouterConvention noisy = *FindConvention("noisy-topk");
  RouterArgs args = softmax;
  args.convention = &noisy;
  const Routed routed = RouteForTest(args);
  std::vector<float> importance(static_cast<size_t>(args.experts));
  Importance(routed.chosen.data(), routed.weights.data(), args.rows, args.k, args.experts,
             importance.data());
  return SquaredVariation(importance.data(), args.experts);
}

TEST(LossesTest, EveryNamedLossIsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/losses.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "routers/losses.safetensors");
  const GoldenFile file(list_path, tensor_path);
  ASSERT_FALSE(file.cases.empty());
  const RouterConvention softmax = *FindConvention("qwen2-moe");
  for (const GoldenCase& test : file.cases) {
    const int64_t rows = test.Int("B") * test.Int("S");
    const std::vector<RowRange> sequences = EqualSequences(rows, test.Int("B"));
    const RouterArgs route = {.convention = &softmax,
                              .logits = test.Find<float>("logits"),
                              .rows = rows,
                              .experts = test.Int("E"),
                              .k = test.Int("K")};
    const Routed routed = RouteForTest(route);
    const LossArgs args = {.logits = route.logits,
                           .rows = rows,
                           .experts = route.experts,
                           .k = route.k,
                           .chosen = routed.chosen.data(),
                           .sequences = sequences,
                           .devices = test.Int("devices")};
    for (const std::string name : test.parameters()["losses"]) {
      SCOPED_TRACE(test.name() + " " + name);
      float loss = 0;
      if (name == "z") {
        loss = ZLoss(args);
      } else if (name == "importance_cv2") {
        loss = ImportanceOf(route);
      } else {
        const auto named = FindBalanceLoss(name);
        ASSERT_TRUE(named.ok()) << named.status();
        loss = BalanceLossValue(*named, args);
      }
      // The uniform case's variance is rounding alone.
      const float expected = test.Values<float>(name + "/loss")[0];
      if (expected < 1e-10f) {
        EXPECT_LT(std::abs(loss), 1e-10f);
      } else {
        ExpectClose({loss}, {expected}, kLossTolerance, "loss");
      }
      if (name != "megatron_global") continue;
      ExpectClose(GlobalParts(args), test.Values<float>(name + "/per_rank"), kLossTolerance,
                  "rank");
    }
  }
}

// x W^T of [rows][hidden] and [experts][hidden].
std::vector<float> Product(const GoldenCase& test, const char* weights) {
  const int64_t rows = test.Int("T"), experts = test.Int("E");
  const std::vector<float> x = test.Values<float>("x"), w = test.Values<float>(weights);
  const int64_t hidden = static_cast<int64_t>(x.size()) / rows;
  std::vector<float> product;
  for (int64_t i = 0; i < rows * experts; ++i) {
    double sum = 0;
    for (int64_t h = 0; h < hidden; ++h) {
      sum += double{x[i / experts * hidden + h]} * w[i % experts * hidden + h];
    }
    product.push_back(static_cast<float>(sum));
  }
  return product;
}

TEST(NoisyTopKTest, IsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/noisy_topk.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "routers/noisy_topk.safetensors");
  const GoldenFile file(list_path, tensor_path);
  ASSERT_FALSE(file.cases.empty());
  for (const GoldenCase& test : file.cases) {
    SCOPED_TRACE(test.name());
    RouterConvention convention = *FindConvention("noisy-topk");
    convention.noise_epsilon = test.Get("noise_epsilon", 0.0f);
    convention.importance_coefficient = test.Get("w_importance", 0.0f);
    convention.load_coefficient = test.Get("w_load", 0.0f);
    const bool train = test.Get("train", true);
    const std::vector<float> clean = Product(test, "w_gate");
    const std::vector<float> noise_logits = Product(test, "w_noise");
    const RouterArgs args = {.convention = &convention,
                             .logits = clean.data(),
                             .rows = test.Int("T"),
                             .experts = test.Int("E"),
                             .k = test.Int("K"),
                             .noise = train ? test.Find<float>("noise") : nullptr,
                             .noise_logits = noise_logits.data()};
    const Routed routed = RouteForTest(args);
    ASSERT_TRUE(routed.status.ok()) << routed.status;
    EXPECT_EQ(routed.ids, test.Values<int32_t>("ids"));
    // The rounding of the logits enters, amplified by their size.
    ExpectClose(routed.weights, test.Values<float>("weights"), 4e-6f, "weight");
    std::vector<float> sums(static_cast<size_t>(args.experts));
    Importance(routed.chosen.data(), routed.weights.data(), args.rows, args.k, args.experts,
               sums.data());
    ExpectClose(sums, test.Values<float>("importance"), 4e-6f, "importance");
    if (train) {
      NoisyLoad(args, sums.data());
      ExpectClose(sums, test.Values<float>("load"), 4e-6f, "load");
    }
    ExpectClose({NoisyTopKLoss(args, routed.chosen.data(), routed.weights.data())},
                test.Values<float>("loss"), 4e-6f, "loss");
  }
}

TEST(ExpertChoiceTest, IsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/expert_choice.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "routers/expert_choice.safetensors");
  const GoldenFile file(list_path, tensor_path);
  ASSERT_FALSE(file.cases.empty());
  for (const GoldenCase& test : file.cases) {
    SCOPED_TRACE(test.name());
    const int64_t rows = test.Int("T"), experts = test.Int("E");
    const int64_t tokens = ExpertChoiceTokens(rows, experts, test.Get("c", 0.0));
    EXPECT_EQ(tokens, test.Int("k"));
    std::vector<int32_t> rows_of(static_cast<size_t>(experts * tokens));
    std::vector<float> weights(rows_of.size());
    std::vector<uint8_t> failed(static_cast<size_t>(rows));
    std::vector<int32_t> experts_of(failed.size());
    ExpertChoice({.logits = test.Find<float>("logits"),
                  .rows = rows,
                  .experts = experts,
                  .tokens = tokens,
                  .rows_of = rows_of.data(),
                  .weights = weights.data(),
                  .failed = failed.data(),
                  .experts_of = experts_of.data()});
    EXPECT_EQ(rows_of, test.Values<int32_t>("ids"));
    ExpectClose(weights, test.Values<float>("weights"), kWeightTolerance, "weight");
    EXPECT_EQ(experts_of, test.Values<int32_t>("experts_per_token"));
  }
}

TEST(ExpertChoiceTest, NobodyTakesAFailedRow) {
  const float logits[] = {NAN, 0, 1, 0};
  int32_t rows_of[4], experts_of[2];
  float weights[4];
  uint8_t failed[2];
  ExpertChoice({.logits = logits,
                .rows = 2,
                .experts = 2,
                .tokens = 2,
                .rows_of = rows_of,
                .weights = weights,
                .failed = failed,
                .experts_of = experts_of});
  EXPECT_EQ((std::vector<int32_t>(rows_of, rows_of + 4)), (std::vector<int32_t>{1, -1, 1, -1}));
  EXPECT_EQ(weights[1], 0.0f);
  EXPECT_EQ(experts_of[0], 0);
  EXPECT_EQ(experts_of[1], 2);
}

TEST(CapacityTest, EveryFormulaIsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/capacity_formulas.json");
  const nlohmann::json list = ReadJson(list_path);
  const std::vector<std::pair<const char*, CapacityRule>> formulas = {
      {"megatron", {.formula = CapacityFormula::kMegatron}},
      {"deepspeed_min4", {.formula = CapacityFormula::kDeepSpeed}},
      {"tutel", {.formula = CapacityFormula::kTutel}},
      {"megablocks_ep1", {.formula = CapacityFormula::kMegablocks}},
      {"megablocks_ep4", {.formula = CapacityFormula::kMegablocks, .expert_parallel = 4}},
      {"switch", {.formula = CapacityFormula::kSwitch}},
      {"mesh_tensorflow_group", {.formula = CapacityFormula::kMesh}},
  };
  ASSERT_FALSE(list["rows"].empty());
  for (const nlohmann::json& row : list["rows"]) {
    for (auto [name, rule] : formulas) {
      const bool grouped = row[name].is_object();
      rule.factor = row["cf"];
      EXPECT_EQ(ExpertCapacity(rule, grouped ? row[name]["G"] : row["T"], row["E"], row["K"]),
                (grouped ? row[name]["capacity"] : row[name]).get<int64_t>())
          << name << " " << row;
    }
  }
}

TEST(CapacityTest, AFactorOfZeroIsNoLimit) {
  for (const CapacityFormula formula : {CapacityFormula::kTutel, CapacityFormula::kMegatron}) {
    EXPECT_EQ(ExpertCapacity({.formula = formula, .factor = 0.0}, 100, 8, 2), kUnlimitedCapacity);
  }
  EXPECT_EQ(
      ExpertCapacity({.formula = CapacityFormula::kSwitch, .factor = 1.0, .minimum = 3}, 8, 8, 1),
      3);
}

// After each step the bias is the row of [steps][experts] that is expected.
void ExpectBiases(const std::vector<int32_t>& loads, const std::vector<float>& expected,
                  int64_t experts, float step, bool center) {
  std::vector<float> bias(static_cast<size_t>(experts));
  for (size_t begin = 0; begin < loads.size(); begin += bias.size()) {
    const std::vector<int64_t> load(loads.begin() + begin, loads.begin() + begin + experts);
    UpdateBias(load.data(), experts, step, center, bias.data());
    for (int64_t i = 0; i < experts; ++i) {
      EXPECT_NEAR(bias[i], expected[begin + i], 2e-9f) << "step " << begin / bias.size();
    }
  }
}

TEST(BiasUpdateTest, GivenLoadsAreAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/bias_update.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "routers/bias_update.safetensors");
  const GoldenFile file(list_path, tensor_path);
  const GoldenCase test(file.tensors, {{"case", "given_loads"}});
  const std::vector<int32_t> loads = test.Values<int32_t>("load");
  const int64_t experts = file.list["E"];
  const float step = file.list["gamma"];
  ExpectBiases(loads, test.Values<float>("deepseek_v3/bias"), experts, step, /*center=*/false);
  ExpectBiases(loads, test.Values<float>("torchtitan/bias"), experts, step, /*center=*/true);
}

TEST(BiasUpdateTest, ClosedLoopIsAsExpected) {
  SWITCHYARD_FIXTURE_OR_SKIP(list_path, "routers/bias_update.json");
  SWITCHYARD_FIXTURE_OR_SKIP(tensor_path, "routers/bias_update.safetensors");
  const GoldenFile file(list_path, tensor_path);
  const GoldenCase test(file.tensors, {{"case", "closed_loop"}});
  RouterConvention convention = *FindConvention("deepseek-v3");
  convention.groups = convention.kept_groups = 1;
  const int64_t experts = file.list["E"], k = file.list["K"];
  const std::vector<float> logits = test.Values<float>("logits");
  std::vector<float> bias(static_cast<size_t>(experts));
  std::vector<int32_t> loads;
  std::vector<float> biases;
  for (int step = 0; step < file.list["steps"].get<int>(); ++step) {
    const Routed routed = RouteForTest({.convention = &convention,
                                        .logits = logits.data(),
                                        .rows = static_cast<int64_t>(logits.size()) / experts,
                                        .experts = experts,
                                        .k = k,
                                        .bias = bias.data()});
    ASSERT_TRUE(routed.status.ok()) << routed.status;
    std::vector<int64_t> load(static_cast<size_t>(experts));
    for (const int32_t id : routed.chosen) ++load[id];
    UpdateBias(load.data(), experts, file.list["gamma_closed_loop"], /*center=*/false, bias.data());
    loads.insert(loads.end(), load.begin(), load.end());
    biases.insert(biases.end(), bias.begin(), bias.end());
  }
  EXPECT_EQ(loads, test.Values<int32_t>("load"));
  ExpectClose(biases, test.Values<float>("bias"), kWeightTolerance, "bias");
}

}  // namespace
}  // namespace switchyard::kernels
