#include "services/model/config_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"

namespace switchyard::model {
namespace {

using nlohmann::json;

json Mixtral() {
  return {{"model_type", "mixtral"},       {"hidden_size", 64},      {"vocab_size", 128},
          {"intermediate_size", 32},       {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2},      {"num_local_experts", 8}, {"num_experts_per_tok", 2},
          {"max_position_embeddings", 512}};
}

json Llama() {
  return {{"model_type", "llama"},   {"hidden_size", 64},      {"vocab_size", 128},
          {"intermediate_size", 96}, {"num_hidden_layers", 3}, {"num_attention_heads", 4}};
}

json With(json config, const std::string& key, json value) {
  config[key] = std::move(value);
  return config;
}

json Without(json config, const std::string& key) {
  config.erase(key);
  return config;
}

absl::StatusOr<ModelSpec> Parse(const json& config) {
  return ParseConfig(config.dump(), "folder/config.json");
}

TEST(ConfigJsonTest, AbsentKeysTakeTransformersDefaults) {
  const ModelSpec mixtral =
      *Parse(Without(With(Mixtral(), "num_attention_heads", 16), "num_key_value_heads"));
  EXPECT_EQ(mixtral.layers[0].attention.kv_heads, 8);
  EXPECT_EQ(mixtral.layers[0].attention.head_dim, 4);
  EXPECT_EQ(mixtral.layers[0].attention.sliding_window, 0);
  EXPECT_EQ(mixtral.rope.theta, 1e6);
  EXPECT_EQ(mixtral.norm_epsilon, 1e-5f);
  EXPECT_FALSE(mixtral.tied_embeddings);
  EXPECT_EQ(mixtral.bos_token, 1);
  EXPECT_EQ(mixtral.eos_tokens, std::vector<int64_t>{2});
  EXPECT_EQ(mixtral.MoeLayers(), (std::vector<int64_t>{0, 1}));

  const ModelSpec llama = *Parse(Llama());
  EXPECT_EQ(llama.layers[0].attention.kv_heads, 4);
  EXPECT_EQ(llama.rope.theta, 1e4);
  EXPECT_EQ(llama.norm_epsilon, 1e-6f);
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_TRUE(llama.MoeLayers().empty());
}

TEST(ConfigJsonTest, NullIsAbsentExceptWhereItMeansNone) {
  json config = Mixtral();
  for (const char* key : {"head_dim", "sliding_window", "rope_scaling", "bos_token_id",
                          "eos_token_id", "num_key_value_heads", "quantization_config"}) {
    config[key] = nullptr;
  }
  const ModelSpec spec = *Parse(config);
  EXPECT_EQ(spec.bos_token, -1);
  EXPECT_TRUE(spec.eos_tokens.empty());
  EXPECT_EQ(spec.layers[0].attention.kv_heads, 4);  // as many as query heads
  EXPECT_EQ(spec.layers[0].attention.head_dim, 16);
}

TEST(ConfigJsonTest, BothSpellingsOfRopeGiveOneSpec) {
  const json linear = {{"type", "linear"}, {"factor", 4.0}};
  const json v4 = With(With(Mixtral(), "rope_theta", 5000.0), "rope_scaling", linear);
  const json v5 = With(Mixtral(), "rope_parameters",
                       {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 5000.0}});
  EXPECT_EQ(*Parse(v4), *Parse(v5));
  EXPECT_EQ(Parse(v4)->rope.kind, RopeKind::kLinear);
  EXPECT_EQ(Parse(v4)->rope.theta, 5000);
  EXPECT_EQ(Parse(v4)->rope.factor, 4);
  // Where both stand, the older key wins whole.
  const json both = With(v5, "rope_scaling", {{"rope_type", "default"}});
  EXPECT_EQ(Parse(both)->rope.kind, RopeKind::kDefault);
  EXPECT_EQ(Parse(both)->rope.theta, 1e6);
}

TEST(ConfigJsonTest, Llama3RopeTakesTheTopLevelOriginalLengthFirst) {
  const json scaling = {{"rope_type", "llama3"},
                        {"factor", 8},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64}};
  const json config = With(Llama(), "rope_scaling", scaling);
  EXPECT_EQ(Parse(config)->rope.original_max_positions, 64);
  EXPECT_EQ(
      Parse(With(config, "original_max_position_embeddings", 32))->rope.original_max_positions, 32);
}

TEST(ConfigJsonTest, DynamicRopeExtendsTheContext) {
  const json config = With(Mixtral(), "rope_scaling", {{"type", "dynamic"}, {"factor", 2.5}});
  const auto spec = Parse(config);
  EXPECT_EQ(spec->max_positions, Parse(Mixtral())->max_positions * 5 / 2);
  EXPECT_EQ(spec->rope.original_max_positions, Parse(Mixtral())->max_positions);
}

struct BadConfig {
  json config;
  std::string error;
};

TEST(ConfigJsonTest, RefusesBadValuesNamingFileAndKey) {
  const auto rope = [](json scaling) {
    return With(Mixtral(), "rope_scaling", std::move(scaling));
  };
  const std::vector<BadConfig> cases = {
      {With(Mixtral(), "num_local_experts", 0), "num_local_experts is 0"},
      {With(Mixtral(), "num_local_experts", -8), "num_local_experts is -8"},
      {With(Mixtral(), "num_local_experts", 1'000'000'000), "num_local_experts is 1000000000"},
      {With(Mixtral(), "num_local_experts", 1e9), "num_local_experts is 1000000000.0"},
      {With(Mixtral(), "num_local_experts", UINT64_MAX), "num_local_experts"},
      {With(Mixtral(), "num_local_experts", "8"), "num_local_experts is \"8\""},
      {With(Mixtral(), "num_local_experts", json::array({8})), "num_local_experts is a list"},
      {With(Mixtral(), "num_local_experts", true), "num_local_experts is true"},
      {Without(Mixtral(), "num_local_experts"), "num_local_experts is missing"},
      {With(Mixtral(), "num_experts_per_tok", 0), "num_experts_per_tok is 0"},
      {With(Mixtral(), "num_experts_per_tok", 9),
       "num_experts_per_tok (9) is greater than num_local_experts (8)"},
      {Without(Mixtral(), "num_experts_per_tok"), "num_experts_per_tok is missing"},
      {Without(Mixtral(), "model_type"), "model_type is missing"},
      {With(Mixtral(), "model_type", "gpt2"), "model_type is \"gpt2\"; supported are"},
      {Without(Mixtral(), "hidden_size"), "hidden_size is missing"},
      {With(Mixtral(), "hidden_size", 0), "hidden_size is 0"},
      {With(Mixtral(), "hidden_size", 66), "does not divide hidden_size (66)"},
      {Without(Mixtral(), "vocab_size"), "vocab_size is missing"},
      {With(Mixtral(), "vocab_size", -1), "vocab_size is -1"},
      {With(Mixtral(), "num_hidden_layers", 0), "num_hidden_layers is 0"},
      {With(Mixtral(), "num_hidden_layers", 1'000'000'000), "num_hidden_layers"},
      {With(Mixtral(), "intermediate_size", 1.5), "intermediate_size is 1.5"},
      {With(Mixtral(), "num_attention_heads", 0), "num_attention_heads is 0"},
      {With(Mixtral(), "num_key_value_heads", 3), "num_key_value_heads (3) does not divide"},
      {With(Mixtral(), "num_key_value_heads", 8), "num_key_value_heads is 8"},
      {Without(Mixtral(), "num_key_value_heads"), "num_key_value_heads (8) does not divide"},
      {With(Mixtral(), "head_dim", 15), "head_dim is 15; must be even"},
      {With(Mixtral(), "sliding_window", 0), "sliding_window is 0"},
      {With(Mixtral(), "max_position_embeddings", 0), "max_position_embeddings is 0"},
      {With(Mixtral(), "rms_norm_eps", -1e-5), "rms_norm_eps"},
      {With(Mixtral(), "tie_word_embeddings", "no"), "tie_word_embeddings is \"no\""},
      {With(Mixtral(), "hidden_act", "tanh"), "hidden_act is \"tanh\"; supported are"},
      {With(Mixtral(), "attention_bias", true), "attention_bias is true"},
      {With(Mixtral(), "quantization_config", {{"bits", 4}}), "quant_method is missing"},
      {With(Mixtral(), "quantization_config", {{"quant_method", "gptq"}}),
       "quantization_config.quant_method is \"gptq\"; supported are \"fp8\""},
      {With(Mixtral(), "quantization_config", {{"quant_method", "mxfp4"}}), "is \"mxfp4\""},
      {With(Mixtral(), "quantization_config", {{"quant_method", "fp8"}}), "weight_block_size"},
      {With(Mixtral(), "quantization_config",
            {{"quant_method", "fp8"}, {"weight_block_size", {64, 128}}}),
       "weight_block_size is not [128, 128]"},
      {With(Mixtral(), "auto_map", {{"AutoModel", "code.Model"}}), "auto_map"},
      {With(Mixtral(), "bos_token_id", 128), "bos_token_id is 128"},
      {With(Mixtral(), "eos_token_id", json::array({2, -1})), "eos_token_id is -1"},
      {With(Mixtral(), "rope_theta", 0), "rope_theta is 0"},
      {With(Mixtral(), "rope_theta", "1e6"), "rope_theta"},
      {With(Mixtral(), "partial_rotary_factor", 0.5), "partial_rotary_factor"},
      {rope("linear"), "rope_scaling is \"linear\"; must be an object"},
      {rope({{"type", "linear"}}), "rope_scaling.factor is missing"},
      {rope({{"type", "linear"}, {"factor", 0}}), "rope_scaling.factor is 0"},
      {rope({{"type", "su"}, {"factor", 4}}), "rope_scaling.type is \"su\"; supported are"},
      {rope({{"type", "yarn"}, {"factor", -4}}), "rope_scaling.factor is -4"},
      {rope({{"rope_type", "longrope"}}), "rope_scaling.short_factor is missing"},
      {rope({{"rope_type", "longrope"}, {"short_factor", {1, 1}}}),
       "short_factor has 2 entries; 8 pairs of a head rotate"},
      {rope({{"rope_type", "ntk"}}), "rope_scaling.alpha is missing"},
      {rope({{"full_attention", {{"rope_type", "default"}}}}), "rope_scaling.full_attention gives"},
      {rope({{"type", 7}}), "rope_scaling.type is 7"},
      {rope({{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}),
       "high_freq_factor must be greater"},
      {rope({{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}}),
       "original_max_position_embeddings is missing"},
      {json::array(), "must be a JSON object"},
  };
  for (const BadConfig& bad : cases) {
    const auto spec = Parse(bad.config);
    ASSERT_FALSE(spec.ok()) << bad.error;
    const std::string message(spec.status().message());
    EXPECT_NE(message.find("folder/config.json"), std::string::npos) << message;
    EXPECT_NE(message.find(bad.error), std::string::npos) << message << "\nwanted " << bad.error;
  }
}

TEST(ConfigJsonTest, RefusesHostileText) {
  const std::string deep = "{\"a\": " + std::string(100'000, '[');
  const std::string large = "{\"a\": \"" + std::string(2 << 20, 'x') + "\"}";
  const std::string duplicate = R"({"model_type": "mixtral", "model_type": "llama"})";
  for (const std::string& text : {deep, large, duplicate, std::string("{"), std::string()}) {
    const auto spec = ParseConfig(text, "folder/config.json");
    ASSERT_FALSE(spec.ok());
    EXPECT_LT(spec.status().message().size(), 300u);
  }
}

TEST(GenerationConfigTest, ItsTokensReplaceTheConfigs) {
  ModelSpec spec = *Parse(Mixtral());
  ASSERT_TRUE(ApplyGenerationConfig(R"({"eos_token_id": [5, 7]})", "g.json", spec).ok());
  EXPECT_EQ(spec.eos_tokens, (std::vector<int64_t>{5, 7}));
  EXPECT_EQ(spec.bos_token, 1);
  const absl::Status beyond = ApplyGenerationConfig(R"({"eos_token_id": 128})", "g.json", spec);
  EXPECT_NE(beyond.message().find("g.json: eos_token_id is 128"), std::string::npos) << beyond;
}

TEST(GenerationConfigTest, AbsentKeysLeaveTheSpecAlone) {
  ModelSpec spec = *Parse(Mixtral());
  const ModelSpec before = spec;
  ASSERT_TRUE(
      ApplyGenerationConfig(R"({"temperature": null, "top_k": null})", "g.json", spec).ok());
  EXPECT_EQ(spec, before);
}

// The tiny reference checkpoints: every family that is supported.

ModelSpec FixtureSpec(const std::string& folder) {
  const std::string path = folder + "/config.json";
  absl::StatusOr<ModelSpec> spec = ParseConfig(*ReadWholeFile(path, 1 << 20), path);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : ModelSpec();
}

TEST(FixtureConfigTest, MixtralIsTheSameInBothSpellings) {
  SWITCHYARD_FIXTURE_OR_SKIP(v4, "models/mixtral");
  SWITCHYARD_FIXTURE_OR_SKIP(v5, "models/mixtral_sharded");
  const ModelSpec spec = FixtureSpec(v4);
  EXPECT_EQ(spec, FixtureSpec(v5));
  EXPECT_EQ(spec.hidden, 64);
  EXPECT_EQ(spec.layers.size(), 4u);
  EXPECT_EQ(
      spec.layers[3].attention,
      (AttentionSpec{.heads = 4, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .scale = 0.25}));
  EXPECT_EQ(spec.layers[3].ffn.intermediate, 32);
  EXPECT_EQ(spec.layers[3].ffn.router, (RouterSpec{.experts = 8, .top_k = 2}));
  EXPECT_EQ(spec.rope.theta, 1e6);
}

TEST(FixtureConfigTest, SlidingWindowAndFineExperts) {
  SWITCHYARD_FIXTURE_OR_SKIP(sliding, "models/mixtral_swa");
  EXPECT_EQ(FixtureSpec(sliding).layers[0].attention.sliding_window, 8);
  SWITCHYARD_FIXTURE_OR_SKIP(fine, "models/mixtral_fine");
  const ModelSpec spec = FixtureSpec(fine);
  EXPECT_EQ(spec.layers[0].attention.kv_heads, 1);
  EXPECT_EQ(spec.layers[0].ffn.router->top_k, 4);
  EXPECT_EQ(spec.rope.theta, 107672.01541058847);
}

TEST(FixtureConfigTest, LlamaIsDenseAndTiedWithItsRope) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/llama");
  const ModelSpec spec = FixtureSpec(folder);
  EXPECT_TRUE(spec.tied_embeddings);
  EXPECT_FALSE(spec.layers[0].ffn.router);
  EXPECT_EQ(spec.rope.kind, RopeKind::kLlama3);
  EXPECT_EQ(spec.rope.original_max_positions, 64);
  EXPECT_EQ(spec.rope.rotary_dim, 16);
}

}  // namespace
}  // namespace switchyard::model
