// Routing inside the reference checkpoints (../shared/fixtures/{models,own_models}): from the
// expected router logits of every layer to the expected experts, weights and drops.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "kernels/router/golden_case.h"
#include "kernels/router/routed.h"

namespace switchyard::kernels {
namespace {

using Tensors = std::map<std::string, testing::Tensor>;

// The reference routes in fp32 itself.
constexpr float kTolerance = 2e-6f;

struct Model {
  const char* folder;
  const char* convention;
};

constexpr Model kModels[] = {
    {"models/mixtral", "mixtral"},
    {"models/mixtral_fine", "mixtral"},
    {"models/qwen2_moe", "qwen2-moe"},
    {"models/qwen3_moe", "qwen3-moe"},
    {"models/olmoe", "olmoe"},
    {"models/deepseek_v2", "deepseek-v2"},
    {"models/deepseek_v2_lite", "deepseek-v2-lite"},
    {"models/deepseek_v3", "deepseek-v3"},
    {"models/deepseek_v3_noqlora", "deepseek-v3"},
    {"models/deepseek_v3_mtp", "deepseek-v3"},
    {"models/deepseek_v3_fp8", "deepseek-v3"},
    {"models/glm4_moe", "glm4-moe"},
    {"models/gpt_oss", "gpt-oss"},
    {"models/gpt_oss_mxfp4", "gpt-oss"},
    {"models/phimoe", "phimoe"},
    {"models/switch", "switch"},
    {"models/switch_drop", "switch"},
    {"own_models/glam_drops", "glam"},
    {"own_models/glam_no_drops", "glam"},
    {"own_models/gpt_moe_learned", "mixtral"},
    {"own_models/gpt_moe_sinusoidal", "mixtral"},
    {"own_models/deepseek_v3_mtp", "deepseek-v3"},
    {"own_models/deepseek_v3_fp8", "deepseek-v3"},
};

// The named convention with the knobs of the config.
RouterConvention ConventionOf(const std::string& name, const nlohmann::json& config) {
  RouterConvention convention = *FindConvention(name);
  if (convention.groups > 1 || name == "glm4-moe") {
    convention.groups = config["n_group"];
    convention.kept_groups = config["topk_group"];
  }
  convention.scale = config.value("routed_scaling_factor", 1.0f);
  convention.mixer_jitter = config.value("router_jitter_noise", 0.0f);
  // DeepSeek-V2 has the key too and never reads it.
  if (config.contains("norm_topk_prob") && !name.starts_with("deepseek-v2")) {
    convention.normalization =
        config["norm_topk_prob"] ? Normalization::kChosen : Normalization::kNone;
  }
  if (config.contains("expert_capacity_factor")) {
    convention.capacity.factor = config["expert_capacity_factor"];
  }
  if (config.contains("expert_capacity")) convention.capacity.fixed = config["expert_capacity"];
  return convention;
}

// "router.1" and "mtp.router.0" to the layer's bias on disk, or null.
const float* BiasOf(const std::string& router, const nlohmann::json& config,
                    const Tensors& weights) {
  const bool mtp = router.starts_with("mtp.");
  const std::string layer = mtp ? std::to_string(config["num_hidden_layers"].get<int>())
                                : router.substr(router.rfind('.') + 1);
  const auto found = weights.find("model.layers." + layer + ".mlp.gate.e_score_correction_bias");
  return found == weights.end() ? nullptr : found->second.As<float>();
}

// 1 where a choice is kept.
std::vector<uint8_t> Kept(const std::string& router, const Tensors& expected, size_t choices) {
  std::vector<uint8_t> kept(choices, 1);
  if (const auto found = expected.find(router + ".kept"); found != expected.end()) {
    std::copy_n(found->second.As<uint8_t>(), choices, kept.begin());
  }
  if (const auto found = expected.find(router + ".dropped"); found != expected.end()) {
    for (size_t i = 0; i < choices; ++i) kept[i] = !found->second.As<uint8_t>()[i];
  }
  return kept;
}

void ExpectRouterOf(const std::string& router, const Tensors& expected,
                    const RouterConvention& convention, const float* bias) {
  const testing::Tensor& logits = expected.at(router + ".logits");
  const testing::Tensor& ids = expected.at(router + ".ids");
  const testing::Tensor& weights = expected.at(router + ".weights");
  const int64_t rows = logits.shape[0] * logits.shape[1], k = ids.shape[2];
  const std::vector<RowRange> sequences = EqualSequences(rows, logits.shape[0]);
  const Routed routed = RouteForTest({.convention = &convention,
                                      .logits = logits.As<float>(),
                                      .rows = rows,
                                      .experts = logits.shape[2],
                                      .k = k,
                                      .bias = bias,
                                      .sequences = sequences});
  ASSERT_TRUE(routed.status.ok()) << routed.status;
  const std::vector<int64_t> chosen(routed.chosen.begin(), routed.chosen.end());
  EXPECT_EQ(chosen, (std::vector<int64_t>{ids.As<int64_t>(), ids.As<int64_t>() + rows * k}));
  if (const auto found = expected.find(router + ".position"); found != expected.end()) {
    const int64_t* position = found->second.As<int64_t>();
    EXPECT_TRUE(std::equal(routed.position.begin(), routed.position.end(), position));
  }
  const std::vector<uint8_t> kept = Kept(router, expected, static_cast<size_t>(rows * k));
  std::vector<float> expected_weights(weights.As<float>(), weights.As<float>() + rows * k);
  for (int64_t i = 0; i < rows * k; ++i) {
    EXPECT_EQ(routed.ids[i] >= 0, kept[i] != 0) << "choice " << i;
    if (!kept[i]) expected_weights[i] = 0.0f;  // Switch's files have the weight before the drop
  }
  ExpectClose(routed.weights, expected_weights, kTolerance, "weight");
}

class RouterModelTest : public ::testing::TestWithParam<Model> {};

TEST_P(RouterModelTest, RoutesAsTheReference) {
  const std::string folder = GetParam().folder;
  SWITCHYARD_FIXTURE_OR_SKIP(config_path, folder + "/config.json");
  SWITCHYARD_FIXTURE_OR_SKIP(expected_path, folder + "/expected.safetensors");
  SWITCHYARD_FIXTURE_OR_SKIP(weights_path, folder + "/model.safetensors");
  const nlohmann::json config = ReadJson(config_path);
  const Tensors expected = testing::ReadTensorFile(expected_path);
  const Tensors weights = testing::ReadTensorFile(weights_path);
  const RouterConvention convention = ConventionOf(GetParam().convention, config);
  int routers = 0;
  for (const auto& [name, tensor] : expected) {
    if (!name.ends_with(".logits") || name.find("router.") == std::string::npos) continue;
    const std::string router = name.substr(0, name.size() - std::string(".logits").size());
    SCOPED_TRACE(router);
    ExpectRouterOf(router, expected, convention, BiasOf(router, config, weights));
    ++routers;
  }
  EXPECT_GT(routers, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, RouterModelTest, ::testing::ValuesIn(kModels),
                         [](const auto& info) {
                           std::string name = info.param.folder;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

}  // namespace
}  // namespace switchyard::kernels
