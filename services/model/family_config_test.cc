// Every family's config.json: what the fixtures say, and configs that contradict themselves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/config_json.h"
#include "services/model/engine_supports.h"
#include "services/model/router_convention.h"
#include "services/model/tensor_names.h"

namespace switchyard::model {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::Not;

json Config(const std::string& folder) {
  return json::parse(*ReadWholeFile(folder + "/config.json", 1 << 20));
}

absl::StatusOr<ModelSpec> Parse(const json& config) {
  return ParseConfig(config.dump(), "folder/config.json");
}

// The layers of a model as short texts, one a layer, to compare with a table.
std::string Text(const AttentionSpec& a) {
  std::string text = std::to_string(a.heads) + "/" + std::to_string(a.kv_heads) + "x" +
                     std::to_string(a.head_dim) + ":" + std::to_string(a.value_dim);
  if (a.kind == AttentionKind::kMla) {
    text += " mla " + std::to_string(a.mla.q_lora_rank) + "," + std::to_string(a.mla.kv_lora_rank) +
            "," + std::to_string(a.mla.nope_dim) + "+" + std::to_string(a.mla.rope_dim);
  }
  if (a.sliding_window > 0) text += " window " + std::to_string(a.sliding_window);
  if (!a.causal) text += " both";
  if (a.qkv_bias) text += " qkv_bias";
  if (a.output_bias) text += " o_bias";
  if (a.qk_norm == QkNorm::kPerHead) text += " head_norm";
  if (a.qk_norm == QkNorm::kProjection) text += " projection_norm";
  if (a.clip_qkv > 0) text += " clip";
  if (a.sinks) text += " sinks";
  if (a.relative) {
    text += " relative " + std::to_string(a.relative->buckets) + "," +
            std::to_string(a.relative->max_distance) + (a.relative->own_table ? "" : " shared");
  }
  return text;
}

std::string Text(const FfnSpec& f) {
  constexpr const char* kActivations[] = {"silu", "gelu", "gelu_tanh", "relu", "clamped"};
  std::string text = std::to_string(f.intermediate) + " " +
                     kActivations[static_cast<size_t>(f.activation)] + (f.gated ? "" : " plain") +
                     (f.bias ? " bias" : "");
  if (f.router) {
    const RouterSpec& r = *f.router;
    text += " " + r.convention + " " + std::to_string(r.top_k) + "/" + std::to_string(r.experts);
    if (r.renormalize) text += " renormalize";
    if (r.groups > 1) {
      text += " groups " + std::to_string(r.kept_groups) + "/" + std::to_string(r.groups);
    }
    if (r.bias) text += " bias";
    if (r.correction_bias) text += " correction";
    if (r.capacity > 0) text += " capacity " + std::to_string(r.capacity);
    if (r.capacity_factor > 0) text += " factor";
  }
  if (f.shared) {
    text += " shared " + std::to_string(f.shared->intermediate) +
            (f.shared->sigmoid_gate ? " gated" : "");
  }
  return text;
}

std::string Text(const LayerSpec& layer) {
  std::string text = Text(layer.attention) + " | " + Text(layer.ffn);
  if (layer.cross_attention) text += " | " + Text(*layer.cross_attention);
  return text;
}

struct Case {
  const char* name;
  std::vector<const char*> layers;  // the last one stands for all that follow
  double scale;
  std::function<void(const ModelSpec&)> check = nullptr;
};

void ExpectLayers(const std::vector<LayerSpec>& layers, const std::vector<const char*>& expected) {
  for (size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(Text(layers[i]), expected[std::min(i, expected.size() - 1)]) << "layer " << i;
  }
}

double Yarn(double mscale) {
  const double m = 0.1 * mscale * std::log(8.0) + 1;
  return m * m;
}

const char kV3Mla[] = "4/4x40:16 mla 24,32,24+16 | 96 silu";
const char kV3Moe[] =
    "4/4x40:16 mla 24,32,24+16 | 24 silu deepseek-v3 4/16 renormalize groups 2/4 correction "
    "shared 24";

const std::vector<Case>& Cases() {
  const double per40 = 1 / std::sqrt(40.0);
  static const auto* const cases = new std::vector<Case>{
      {"models/mixtral", {"4/2x16:16 | 32 silu mixtral 2/8 renormalize"}, 0.25},
      {"models/mixtral_bf16", {"4/2x16:16 | 32 silu mixtral 2/8 renormalize"}, 0.25},
      {"models/mixtral_sharded", {"4/2x16:16 | 32 silu mixtral 2/8 renormalize"}, 0.25},
      {"models/mixtral_swa", {"4/2x16:16 window 8 | 32 silu mixtral 2/4 renormalize"}, 0.25},
      {"models/mixtral_fine", {"4/1x16:16 | 24 silu mixtral 4/16 renormalize"}, 0.25},
      {"models/llama",
       {"4/2x16:16 | 96 silu"},
       0.25,
       [](const ModelSpec& spec) { EXPECT_TRUE(spec.tied_embeddings); }},
      {"models/deepseek_v2",
       {"4/4x40:16 mla 24,32,24+16 | 96 silu",
        "4/4x40:16 mla 24,32,24+16 | 24 silu deepseek-v2 4/16 groups 2/4 shared 48"},
       per40 * Yarn(0.707),
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.layers[1].ffn.router->scale, 3);
         EXPECT_EQ(spec.rope.kind, RopeKind::kYarn);
         EXPECT_EQ(spec.rope.rotary_dim, 16);
         EXPECT_TRUE(spec.rope.interleaved);
       }},
      {"models/deepseek_v2_lite",
       {"4/4x40:16 mla 0,32,24+16 | 96 silu",
        "4/4x40:16 mla 0,32,24+16 | 24 silu deepseek-v2 3/8 shared 48"},
       per40 * Yarn(0.707),
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.norm_epsilon, 1e-5f);
         EXPECT_EQ(spec.layers[0].attention.mla.latent_norm_epsilon, 1e-6f);
       }},
      {"models/deepseek_v3",
       {kV3Mla, kV3Moe},
       per40 * Yarn(1),
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.layers[1].ffn.router->scale, 2.5);
         EXPECT_EQ(spec.layers[0].attention.mla.cache_width(), 48);
         EXPECT_FALSE(spec.mtp);
       }},
      {"models/deepseek_v3_noqlora",
       {"4/4x40:16 mla 0,32,24+16 | 96 silu",
        "4/4x40:16 mla 0,32,24+16 | 24 silu deepseek-v3 3/8 renormalize correction shared 48"},
       per40,
       [](const ModelSpec& spec) { EXPECT_EQ(spec.rope.theta, 50000); }},
      {"models/deepseek_v3_mtp",
       {kV3Mla,
        "4/4x40:16 mla 24,32,24+16 | 24 silu deepseek-v3 3/8 renormalize groups 2/4 correction "
        "shared 24"},
       per40 * Yarn(1),
       [](const ModelSpec& spec) {
         ASSERT_TRUE(spec.mtp);
         EXPECT_EQ(*spec.mtp, spec.layers[1]);
         EXPECT_EQ(spec.Blocks(), 3);
         EXPECT_EQ(spec.Block(2), *spec.mtp);
       }},
      {"models/deepseek_v3_fp8",
       {"4/4x40:16 mla 40,144,24+16 | 192 silu",
        "4/4x40:16 mla 40,144,24+16 | 136 silu deepseek-v3 2/6 renormalize groups 1/2 correction "
        "shared 136"},
       per40 * Yarn(1),
       [](const ModelSpec& spec) { EXPECT_EQ(spec.quantization, Quantization::kFp8Block); }},
      {"models/qwen2_moe",
       {"4/2x12:12 qkv_bias | 64 silu",
        "4/2x12:12 qkv_bias | 24 silu qwen2-moe 3/8 shared 40 gated",
        "4/2x12:12 qkv_bias | 64 silu",
        "4/2x12:12 qkv_bias | 24 silu qwen2-moe 3/8 shared 40 gated"},
       1 / std::sqrt(12.0)},
      {"models/qwen3_moe", {"4/2x16:16 head_norm | 24 silu qwen3-moe 3/8 renormalize"}, 0.25},
      {"models/olmoe",
       {"4/2x16:16 projection_norm clip | 24 silu olmoe 3/8"},
       0.25,
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.layers[0].attention.clip_qkv, 1.5);
         EXPECT_EQ(spec.bos_token, -1);
       }},
      {"models/glm4_moe",
       {"4/2x16:16 qkv_bias head_norm | 96 silu",
        "4/2x16:16 qkv_bias head_norm | 24 silu glm4-moe 3/8 renormalize correction shared 24"},
       0.25,
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.rope.rotary_dim, 8);
         EXPECT_FALSE(spec.rope.interleaved);
         EXPECT_EQ(spec.eos_tokens, (std::vector<int64_t>{1, 2}));
       }},
      {"models/gpt_oss",
       {"4/2x16:16 window 8 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/8 bias",
        "4/2x16:16 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/8 bias",
        "4/2x16:16 window 8 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/8 bias",
        "4/2x16:16 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/8 bias"},
       0.25,
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.layers[0].ffn.limit, 7);
         EXPECT_FALSE(spec.rope.truncate);
         EXPECT_EQ(spec.rope.factor, 32);
       }},
      {"models/gpt_oss_mxfp4",
       {"4/2x16:16 window 8 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/6 bias",
        "4/2x16:16 qkv_bias o_bias sinks | 32 clamped bias gpt-oss 3/6 bias"},
       0.25,
       [](const ModelSpec& spec) { EXPECT_EQ(spec.quantization, Quantization::kMxfp4); }},
      {"models/phimoe",
       {"4/2x16:16 qkv_bias o_bias | 32 silu phimoe 2/8"},
       0.25,
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.norm, NormKind::kLayer);
         EXPECT_TRUE(spec.head_bias);
         EXPECT_EQ(spec.layers[0].ffn.router->mixer_jitter, 0.1);
         EXPECT_EQ(spec.rope.short_mscale, 1.243163121016122);
         EXPECT_EQ(spec.rope.original_max_positions, 64);
       }},
      {"models/switch",
       {"4/4x16:16 relative 32,128 | 32 relu plain | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain switch 1/6 capacity 64 | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain switch 1/6 capacity 64 | 4/4x16:16 "
        "both"},
       1,
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.logit_scale, 1 / std::sqrt(48.0));
         EXPECT_EQ(spec.decoder_start_token, 0);
         ExpectLayers(
             spec.encoder_layers,
             {"4/4x16:16 both relative 32,128 | 32 relu plain",
              "4/4x16:16 both relative 32,128 shared | 32 relu plain switch 1/6 capacity 64",
              "4/4x16:16 both relative 32,128 shared | 32 relu plain",
              "4/4x16:16 both relative 32,128 shared | 32 relu plain switch 1/6 capacity 64"});
       }},
      {"models/switch_drop",
       {"4/4x16:16 relative 32,128 | 32 relu plain | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain switch 1/6 capacity 7 | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain | 4/4x16:16 both",
        "4/4x16:16 relative 32,128 shared | 32 relu plain switch 1/6 capacity 7 | 4/4x16:16 both"},
       1},
      {"own_models/deepseek_v3_fp8",
       {"4/4x40:24 mla 96,80,24+16 | 320 silu",
        "4/4x40:24 mla 96,80,24+16 | 160 silu deepseek-v3 3/8 renormalize groups 2/4 correction "
        "shared 160"},
       per40},
      {"own_models/deepseek_v3_mtp",
       {"4/4x20:10 mla 20,24,12+8 | 96 silu",
        "4/4x20:10 mla 20,24,12+8 | 24 silu deepseek-v3 3/8 renormalize groups 2/4 correction "
        "shared 24"},
       1 / std::sqrt(20.0),
       [](const ModelSpec& spec) { EXPECT_TRUE(spec.mtp); }},
      {"own_models/glam_drops",
       {"4/4x12:12 relative 32,128 | 80 gelu_tanh",
        "4/4x12:12 relative 32,128 | 96 gelu_tanh plain glam 2/8 renormalize factor",
        "4/4x12:12 relative 32,128 | 80 gelu_tanh",
        "4/4x12:12 relative 32,128 | 96 gelu_tanh plain glam 2/8 renormalize factor"},
       1 / std::sqrt(12.0)},
      {"own_models/glam_no_drops",
       {"4/4x8:8 relative 16,24 | 80 gelu_tanh",
        "4/4x8:8 relative 16,24 | 96 gelu_tanh plain glam 2/8 renormalize factor",
        "4/4x8:8 relative 16,24 | 80 gelu_tanh",
        "4/4x8:8 relative 16,24 | 96 gelu_tanh plain glam 2/8 renormalize factor"},
       1,
       [](const ModelSpec& spec) { EXPECT_TRUE(spec.tied_embeddings); }},
      {"own_models/gpt_moe_learned",
       {"4/4x8:8 qkv_bias o_bias | 128 gelu plain bias mixtral 2/8 renormalize"},
       1 / std::sqrt(8.0),
       [](const ModelSpec& spec) {
         EXPECT_EQ(spec.positions, PositionKind::kLearned);
         EXPECT_TRUE(spec.post_norm);
         EXPECT_EQ(spec.max_positions, 64);
       }},
      {"own_models/gpt_moe_sinusoidal",
       {"2/2x16:16 qkv_bias o_bias | 128 gelu plain bias mixtral 2/8 renormalize"},
       0.25,
       [](const ModelSpec& spec) { EXPECT_EQ(spec.positions, PositionKind::kSinusoidal); }},
  };
  return *cases;
}

TEST(FamilyConfigTest, EveryFixtureIsWhatItsReadmeSays) {
  for (const Case& expected : Cases()) {
    SCOPED_TRACE(expected.name);
    SWITCHYARD_FIXTURE_OR_SKIP(folder, expected.name);
    const auto spec = Parse(Config(folder));
    ASSERT_TRUE(spec.ok()) << spec.status();
    ExpectLayers(spec->layers, expected.layers);
    EXPECT_NEAR(spec->layers[0].attention.scale, expected.scale, 1e-15);
    if (expected.check) expected.check(*spec);
    for (const LayerSpec& layer : spec->layers) {
      if (!layer.ffn.router) continue;
      const auto convention = ConventionOf(*layer.ffn.router, /*decode=*/false);
      EXPECT_TRUE(convention.ok()) << convention.status();
    }
  }
}

struct BadCase {
  const char* fixture;
  json edit;  // merged into the fixture's config
  const char* error;
};

TEST(FamilyConfigTest, RefusesContradictionsNamingTheKey) {
  const std::vector<BadCase> cases = {
      {"deepseek_v3", {{"n_group", 3}}, "n_group (3) does not divide n_routed_experts (16)"},
      {"deepseek_v3", {{"topk_group", 5}}, "topk_group (5) is greater than n_group (4)"},
      {"deepseek_v3",
       {{"num_experts_per_tok", 9}},
       "num_experts_per_tok (9) is greater than the 8"},
      {"deepseek_v3", {{"num_experts_per_tok", 17}}, "is greater than n_routed_experts (16)"},
      {"deepseek_v3",
       {{"n_group", 16}},
       "n_group (16) leaves 1 experts a group; its score takes 2"},
      {"deepseek_v3", {{"num_key_value_heads", 2}}, "num_key_value_heads (2) is not"},
      {"deepseek_v3", {{"qk_rope_head_dim", 15}}, "qk_rope_head_dim is 15; must be even"},
      {"deepseek_v3", {{"topk_method", "best"}}, "topk_method is \"best\"; supported is"},
      {"deepseek_v3", {{"scoring_func", "tanh"}}, "scoring_func is \"tanh\"; supported is"},
      {"deepseek_v3", {{"num_nextn_predict_layers", 2}}, "num_nextn_predict_layers is 2"},
      {"deepseek_v3", {{"kv_lora_rank", nullptr}}, "kv_lora_rank is missing"},
      {"deepseek_v3_fp8",
       {{"quantization_config", {{"weight_block_size", {128, 64}}}}},
       "weight_block_size is not [128, 128]"},
      {"deepseek_v2", {{"topk_method", "noaux_tc"}}, "topk_method is \"noaux_tc\"; supported are"},
      {"deepseek_v2", {{"scoring_func", "sigmoid"}}, "scoring_func is \"sigmoid\"; supported is"},
      {"qwen2_moe", {{"num_key_value_heads", 3}}, "num_key_value_heads (3) does not divide"},
      {"qwen2_moe", {{"mlp_only_layers", {4}}}, "mlp_only_layers is 4"},
      {"qwen2_moe", {{"num_experts_per_tok", 9}}, "is greater than num_experts (8)"},
      {"qwen2_moe",
       {{"layer_types", {"full_attention"}}},
       "layer_types has 1 entries for 4 layers"},
      {"qwen3_moe", {{"decoder_sparse_step", 0}}, "decoder_sparse_step is 0"},
      {"qwen3_moe", {{"hidden_act", "quick"}}, "hidden_act is \"quick\"; supported are"},
      {"olmoe", {{"head_dim", 8}}, "head_dim (8) times num_attention_heads (4) is not hidden_size"},
      {"glm4_moe", {{"partial_rotary_factor", 0.01}}, "partial_rotary_factor makes 0 of 16"},
      {"gpt_oss", {{"layer_types", {"a", "b", "c", "d"}}}, "layer_types has \"a\"; supported are"},
      {"gpt_oss", {{"quantization_config", {{"quant_method", "awq"}}}}, "is \"awq\"; supported"},
      {"phimoe", {{"num_local_experts", 1}}, "num_local_experts is 1; must be an integer from 2"},
      {"phimoe",
       {{"rope_scaling", {{"long_factor", {1, 2}}}}},
       "rope_scaling.long_factor has 2 entries; 8 pairs"},
      {"switch", {{"router_dtype", "bfloat16"}}, "router_dtype is \"bfloat16\"; supported is"},
      {"switch", {{"num_sparse_encoder_layers", 5}}, "num_sparse_encoder_layers is 5"},
      {"switch", {{"relative_attention_max_distance", 16}}, "relative_attention_max_distance (16)"},
      {"switch", {{"d_kv", nullptr}}, "d_kv is missing"},
  };
  for (const BadCase& bad : cases) {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string("models/") + bad.fixture);
    json config = Config(folder);
    // Unlike merge_patch, null stays.
    for (const auto& [key, value] : bad.edit.items()) {
      if (value.is_object()) {
        config[key].merge_patch(value);
      } else {
        config[key] = value;
      }
    }
    const auto spec = Parse(config);
    ASSERT_FALSE(spec.ok()) << bad.fixture << ": " << bad.error;
    const std::string message(spec.status().message());
    EXPECT_NE(message.find("folder/config.json: "), std::string::npos) << message;
    EXPECT_NE(message.find(bad.error), std::string::npos) << message << "\nwanted " << bad.error;
  }
}

json Edited(const std::string& folder, const json& edit) {
  json config = Config(folder);
  config.update(edit);
  return config;
}

// Keys that transformers does not read must not count here either.
TEST(FamilyConfigTest, KeysThatNobodyReads) {
  const std::pair<const char*, json> cases[] = {
      {"deepseek_v2", {{"norm_topk_prob", true}, {"moe_layer_freq", 3}}},
      {"deepseek_v2_lite", {{"n_group", 5}, {"topk_group", 4}}},
      {"deepseek_v3", {{"topk_method", "greedy"}, {"scoring_func", "softmax"}}},
      {"qwen2_moe", {{"sliding_window", 3}}},
      {"gpt_oss", {{"hidden_act", "relu"}, {"experts_per_token", 1}}},
      {"phimoe", {{"num_experts_per_tok", 7}}},
      {"switch", {{"feed_forward_proj", "gated-gelu"}, {"add_router_probs", true}}},
  };
  for (const auto& [fixture, edit] : cases) {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string("models/") + fixture);
    const auto spec = Parse(Edited(folder, edit));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(*spec, *Parse(Config(folder))) << fixture;
  }
}

TEST(FamilyConfigTest, WindowsOfQwen) {
  const json on = {{"use_sliding_window", true}, {"max_window_layers", 2}};
  const auto windows = [](const ModelSpec& spec) {
    std::vector<int64_t> windows;
    for (const LayerSpec& layer : spec.layers) windows.push_back(layer.attention.sliding_window);
    return windows;
  };
  SWITCHYARD_FIXTURE_OR_SKIP(qwen2, "models/qwen2_moe");
  EXPECT_EQ(windows(*Parse(Edited(qwen2, on))), (std::vector<int64_t>{8, 0, 0, 0}));
  SWITCHYARD_FIXTURE_OR_SKIP(qwen3, "models/qwen3_moe");
  EXPECT_EQ(windows(*Parse(Edited(qwen3, on))), (std::vector<int64_t>{8, 8, 8}));
}

// The tensors that a model has, by their names on disk.
std::vector<std::string> TensorsOf(const ModelSpec& spec) {
  std::vector<std::string> tensors;
  const TensorNames names(spec, ExpertLayout::kSeparate);
  EXPECT_TRUE(names
                  .ForEach([&](const std::string& name, const std::vector<int64_t>&) {
                    tensors.push_back(name);
                    return absl::OkStatus();
                  })
                  .ok());
  return tensors;
}

TEST(FamilyConfigTest, BiasesOfLatentAttentionAndDenseLayers) {
  SWITCHYARD_FIXTURE_OR_SKIP(deepseek, "models/deepseek_v3");
  const std::vector<std::string> latent =
      TensorsOf(*Parse(Edited(deepseek, {{"attention_bias", true}})));
  for (const char* name : {"q_a_proj.bias", "kv_a_proj_with_mqa.bias", "o_proj.bias"}) {
    EXPECT_THAT(latent, Contains(absl::StrCat("model.layers.0.self_attn.", name)));
  }
  EXPECT_THAT(latent, Not(Contains("model.layers.0.self_attn.q_b_proj.bias")));
  SWITCHYARD_FIXTURE_OR_SKIP(llama, "models/llama");
  const std::vector<std::string> dense = TensorsOf(*Parse(Edited(llama, {{"mlp_bias", true}})));
  EXPECT_THAT(dense, Contains("model.layers.0.mlp.gate_proj.bias"));
}

TEST(FamilyConfigTest, YarnTakesItsFactorFromTheLengths) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/deepseek_v3");
  json config = Config(folder);
  config["rope_scaling"]["factor"] = nullptr;
  EXPECT_EQ(Parse(config)->rope.factor, 8);  // 32768 / 4096
  config["original_max_position_embeddings"] = 8192;
  EXPECT_EQ(Parse(config)->rope.factor, 4);
  EXPECT_EQ(Parse(config)->rope.original_max_positions, 8192);
}

TEST(FamilyConfigTest, TheEngineRefusesARouterThatCannotServe) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/switch");
  ModelSpec spec = *Parse(Config(folder));
  EXPECT_TRUE(EngineSupports(spec).ok());
  spec.encoder_layers[1].ffn.router->convention = "expert-choice";
  const absl::Status status = EngineSupports(spec);
  EXPECT_NE(status.message().find("it can train but not serve"), std::string::npos) << status;
}

}  // namespace
}  // namespace switchyard::model
