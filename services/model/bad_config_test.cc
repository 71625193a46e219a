// Every family's config.json with one key spoiled (a preset stands for its family): an error that
// names the file and the key, before anything is sized by it.

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/model/config_json.h"
#include "services/model/presets/presets.h"

namespace switchyard::model {
namespace {

using nlohmann::json;

struct Keys {
  const char* preset;
  const char* experts;
  const char* top_k;  // null: the family fixes it
  const char* layers = "num_hidden_layers";
  const char* activation = "hidden_act";  // null: the family fixes it
  bool rope = true;
};

const Keys kFamilies[] = {
    {"mixtral-8x7b", "num_local_experts", "num_experts_per_tok"},
    {"deepseek-v2", "n_routed_experts", "num_experts_per_tok"},
    {"deepseek-v3", "n_routed_experts", "num_experts_per_tok"},
    {"glm-4.5", "n_routed_experts", "num_experts_per_tok"},
    {"olmoe-1b-7b", "num_experts", "num_experts_per_tok"},
    {"qwen2-57b-a14b", "num_experts", "num_experts_per_tok"},
    {"qwen3-30b-a3b", "num_experts", "num_experts_per_tok"},
    {"gpt-oss-20b", "num_local_experts", "num_experts_per_tok", "num_hidden_layers", nullptr},
    {"phi-3.5-moe", "num_local_experts", nullptr},
    {.preset = "glam-64b-64e",
     .experts = "num_local_experts",
     .top_k = "num_experts_per_tok",
     .rope = false},
    {"gpt-moe-175b", "num_local_experts", "num_experts_per_tok", "n_layer", "activation_function",
     false},
    {"switch-base-8", "num_experts", nullptr, "num_layers", "dense_act_fn", false}};

json ConfigOf(const Keys& family) { return json::parse(FindPreset(family.preset)); }

std::string ErrorOf(const json& config) {
  const auto spec = ParseConfig(config.dump(), "folder/config.json");
  return spec.ok() ? "" : std::string(spec.status().message());
}

void ExpectNamed(const std::string& error, const std::string& key) {
  EXPECT_NE(error.find("folder/config.json: "), std::string::npos) << key << ": " << error;
  EXPECT_NE(error.find(key), std::string::npos) << key << ": " << error;
}

TEST(BadConfigTest, SizesThatNoModelHas) {
  for (const Keys& family : kFamilies) {
    SCOPED_TRACE(family.preset);
    for (const char* key : {family.experts, family.layers}) {
      for (const json& value : {json(0), json(-8), json(1'000'000'000), json(8.5), json("8"),
                                json(UINT64_MAX), json(json::array({8})), json(true)}) {
        json config = ConfigOf(family);
        config[key] = value;
        ExpectNamed(ErrorOf(config), std::string(key) + " is ");
      }
      json config = ConfigOf(family);
      config.erase(key);
      ExpectNamed(ErrorOf(config), std::string(key) + " is missing");
    }
  }
}

TEST(BadConfigTest, MoreChoicesThanExperts) {
  for (const Keys& family : kFamilies) {
    if (family.top_k == nullptr) continue;
    SCOPED_TRACE(family.preset);
    json config = ConfigOf(family);
    config[family.experts] = 8;
    config[family.top_k] = 9;
    ExpectNamed(ErrorOf(config),
                std::string(family.top_k) + " (9) is greater than " + family.experts + " (8)");
    config[family.top_k] = 1'000'000'000;
    ExpectNamed(ErrorOf(config), std::string(family.top_k) + " is 1000000000");
  }
}

TEST(BadConfigTest, UnknownKinds) {
  for (const Keys& family : kFamilies) {
    SCOPED_TRACE(family.preset);
    if (family.activation != nullptr) {
      json config = ConfigOf(family);
      config[family.activation] = "cubic";
      ExpectNamed(ErrorOf(config),
                  std::string(family.activation) + " is \"cubic\"; supported are \"silu\"");
    }
    json config = ConfigOf(family);
    config["quantization_config"] = {{"quant_method", "awq"}};
    ExpectNamed(ErrorOf(config), "quantization_config.quant_method is \"awq\"; supported are");
    if (!family.rope) continue;
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      config = ConfigOf(family);
      config.erase("rope_scaling");
      config[key] = {{"rope_type", "spiral"}};
      ExpectNamed(ErrorOf(config),
                  std::string(key) + ".rope_type is \"spiral\"; supported are \"default\"");
    }
  }
}

// Whatever stands under a key of the config, it is either not read or refused by its name.
TEST(BadConfigTest, NonsenseUnderAnyKey) {
  for (const std::string& preset : PresetNames()) {
    SCOPED_TRACE(preset);
    const json good = json::parse(FindPreset(preset));
    for (const auto& [key, unused] : good.items()) {
      for (const json& value :
           {json(-1), json(1e300), json(INT64_MIN), json("nonsense"), json(json::array({json()})),
            json({{"nonsense", 1}}), json(std::string(100'000, 'x'))}) {
        json config = good;
        config[key] = value;
        const std::string error = ErrorOf(config);
        if (!error.empty()) ExpectNamed(error, key);
        EXPECT_LT(error.size(), 500U) << key;
      }
    }
  }
}

struct BadCase {
  const char* preset;
  json edit;  // replaces keys
  const char* error;
};

TEST(BadConfigTest, WhatOnlySomeFamiliesRead) {
  const BadCase cases[] = {
      {"glam-64b-64e", {{"num_experts_per_tok", 3}}, "num_experts_per_tok is 3; GLaM chooses 2"},
      {"glam-64b-64e", {{"expert_capacity_group", "batch"}}, "is \"batch\"; supported is"},
      {"glam-64b-64e", {{"second_expert_policy", "random"}}, "is \"random\"; supported is"},
      {"glam-64b-64e", {{"moe_layer_offset", 2}}, "moe_layer_offset is 2"},
      {"glam-64b-64e", {{"moe_layer_period", 0}}, "moe_layer_period is 0"},
      {"glam-64b-64e", {{"relative_attention_num_buckets", 31}}, "must be even"},
      {"glam-64b-64e", {{"expert_capacity_factor", 0}}, "expert_capacity_factor is 0"},
      {"gpt-moe-175b", {{"n_head", 97}}, "n_head (97) does not divide n_embd (12288)"},
      {"gpt-moe-175b", {{"position_embedding_type", "rope"}}, "is \"rope\"; supported are"},
      {"gpt-moe-175b", {{"n_inner", 0}}, "n_inner is 0"},
      {"switch-base-8", {{"num_sparse_decoder_layers", 13}}, "num_sparse_decoder_layers is 13"},
      {"switch-base-8", {{"expert_capacity", 0}}, "expert_capacity is 0"},
      {"switch-base-8", {{"decoder_start_token_id", 32128}}, "decoder_start_token_id is 32128"},
      {"deepseek-v2", {{"topk_group", 2}, {"n_group", 160}}, "topk_group (2) groups"},
      {"deepseek-v2", {{"first_k_dense_replace", 1025}}, "first_k_dense_replace is 1025"},
      {"glm-4.5", {{"topk_group", 2}}, "topk_group (2) is greater than n_group (1)"},
      {"qwen2-57b-a14b", {{"shared_expert_intermediate_size", 0}}, "shared_expert_intermediate"},
      {"qwen3-30b-a3b", {{"mlp_only_layers", {48}}}, "mlp_only_layers is 48"},
      {"gpt-oss-20b", {{"swiglu_limit", 0}}, "swiglu_limit is 0"},
      {"gpt-oss-20b", {{"sliding_window", 0}}, "sliding_window is 0"},
      {"olmoe-1b-7b", {{"clip_qkv", -1}}, "clip_qkv is -1"},
      {"phi-3.5-moe", {{"router_jitter_noise", -1}}, "router_jitter_noise is -1"},
      {"fine-6.9b", {{"rope_scaling", {{"rope_type", "ntk"}, {"alpha", 0}}}}, "alpha is 0"},
      {"fine-6.9b", {{"head_dim", 2}}, "rope_type needs heads in which more than one pair"},
  };
  for (const BadCase& bad : cases) {
    json config = json::parse(FindPreset(bad.preset));
    config.update(bad.edit);
    ExpectNamed(ErrorOf(config), bad.error);
  }
}

}  // namespace
}  // namespace switchyard::model
