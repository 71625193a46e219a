// Checkpoints of every family that must be refused, each a fixture with one thing wrong.

#include <gtest/gtest.h>

#include <cctype>
#include <set>
#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "services/model/spoiled_checkpoint.h"

namespace switchyard::model {
namespace {

// One of each family, and of each way to store experts.
constexpr const char* kFamilies[] = {
    "models/deepseek_v2", "models/deepseek_v3",    "models/deepseek_v3_fp8",
    "models/glm4_moe",    "models/gpt_oss",        "models/gpt_oss_mxfp4",
    "models/llama",       "models/mixtral",        "models/olmoe",
    "models/phimoe",      "models/qwen2_moe",      "models/qwen3_moe",
    "models/switch",      "own_models/glam_drops", "own_models/gpt_moe_learned"};

// The name with its numbers left out: "layers.#.experts.#.w1".
std::string KindOf(const std::string& name) {
  std::string kind;
  for (const char c : name) {
    if (!std::isdigit(static_cast<unsigned char>(c))) {
      kind += c;
    } else if (kind.empty() || kind.back() != '#') {
      kind += '#';
    }
  }
  return kind;
}

// Calls `spoil(checkpoint, name)` for one tensor of each kind of each family.
template <typename Spoil>
void ForEachKind(const Spoil& spoil) {
  for (const char* family : kFamilies) {
    SCOPED_TRACE(family);
    SWITCHYARD_FIXTURE_OR_SKIP(folder, family);
    const SpoiledCheckpoint good(folder, "family");
    std::set<std::string> kinds;
    SpoiledCheckpoint spoiled = good;
    for (const EditableTensor& tensor : good.tensors()) {
      const std::string& name = tensor.declaration.name;
      if (!kinds.insert(KindOf(name)).second) continue;
      spoiled = good;
      spoil(spoiled, name);
    }
  }
}

TEST(BadFamilyCheckpointTest, AMissingTensorIsNamed) {
  ForEachKind([](SpoiledCheckpoint& spoiled, const std::string& name) {
    spoiled.Erase(name);
    // Without its blocks an MXFP4 tensor could as well be a plain one, which is missing then.
    const std::string blocks = "_blocks";
    const bool packed = name.ends_with(blocks);
    spoiled.ExpectRefused("tensor \"" +
                          (packed ? name.substr(0, name.size() - blocks.size()) : name) + "\"");
  });
}

TEST(BadFamilyCheckpointTest, AShapeThatIsOneTooLargeIsNamed) {
  ForEachKind([](SpoiledCheckpoint& spoiled, const std::string& name) {
    EditableTensor& tensor = spoiled[name];
    const auto rows = static_cast<size_t>(tensor.declaration.shape[0]++);
    tensor.bytes.append(tensor.bytes.size() / rows, '\0');
    spoiled.ExpectRefused("tensor \"" + name + "\" has shape [");
  });
}

TEST(BadFamilyCheckpointTest, ATensorThatNothingCallsForIsNamed) {
  for (const char* family : kFamilies) {
    SCOPED_TRACE(family);
    SWITCHYARD_FIXTURE_OR_SKIP(folder, family);
    SpoiledCheckpoint spoiled(folder, "family");
    spoiled.tensors().push_back({{"surplus.weight", StoredType::kF32, {1}}, std::string(4, '\0')});
    spoiled.ExpectRefused("1 tensors that config.json does not call for: \"surplus.weight\"");
  }
}

struct Case {
  const char* fixture;
  void (*spoil)(SpoiledCheckpoint& checkpoint);
  const char* error;
};

TEST(BadFamilyCheckpointTest, WhatOnlySomeFamiliesHave) {
  const Case cases[] = {
      {"models/deepseek_v3_mtp", [](auto& c) { c.Erase("model.layers.2.eh_proj"); },
       "\"model.layers.2.eh_proj.weight\" [64, 128], which config.json calls for"},
      {"models/deepseek_v3_fp8", [](auto& c) { c.EditConfig("quantization_config", nullptr); },
       "has type F8_E4M3; only F32 and BF16 can be loaded"},
      {"models/gpt_oss_mxfp4",
       [](auto& c) {
         c["model.layers.1.mlp.experts.down_proj_scales"].declaration.type = StoredType::kI8;
       },
       "tensor \"model.layers.1.mlp.experts.down_proj_scales\" has type I8; must be U8"},
      {"models/glm4_moe",
       [](auto& c) {
         c.tensors().push_back({{"model.layers.0.self_attn.o_proj.bias", StoredType::kF32, {48}},
                                std::string(192, '\0')});
       },
       "does not call for: \"model.layers.0.self_attn.o_proj.bias\""},
      {"models/gpt_oss",
       [](auto& c) {
         c["model.layers.3.mlp.experts.gate_up_proj"].declaration.shape = {8, 32, 128};
       },
       "has shape [8, 32, 128]; config.json calls for [8, 64, 64]"},
      {"models/switch", [](auto& c) { c.EditConfig("num_sparse_decoder_layers", 4); },
       "which config.json calls for, is missing"},
      {"own_models/glam_drops", [](auto& c) { c.EditConfig("moe_layer_offset", 0); },
       "which config.json calls for, is missing"},
      {"own_models/gpt_moe_learned",
       [](auto& c) { c.EditConfig("position_embedding_type", "sinusoidal"); },
       "does not call for: \"transformer.wpe.weight\""},
      {"models/phimoe", [](auto& c) { c.EditConfig("lm_head_bias", false); },
       "does not call for: \"lm_head.bias\""},
      {"models/olmoe", [](auto& c) { c.EditConfig("attention_bias", true); },
       "self_attn.q_proj.bias\" [64], which config.json calls for"},
      {"models/qwen2_moe", [](auto& c) { c.EditConfig("decoder_sparse_step", 1); },
       "which config.json calls for, is missing"}};
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.error);
    SWITCHYARD_FIXTURE_OR_SKIP(folder, bad.fixture);
    SpoiledCheckpoint spoiled(folder, "case");
    bad.spoil(spoiled);
    spoiled.ExpectRefused(bad.error);
  }
}

TEST(BadFamilyCheckpointTest, TheMtpBlockMayBeLeftOutOrUnwanted) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/deepseek_v3_mtp");
  SpoiledCheckpoint without(folder, "mtp");
  without.Erase("model.layers.2.");
  const auto plain = without.Open();
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_FALSE(plain->spec().mtp);

  SpoiledCheckpoint unwanted(folder, "mtp");
  unwanted.EditConfig("num_nextn_predict_layers", 0);
  EXPECT_TRUE(unwanted.Open().ok());
}

}  // namespace
}  // namespace switchyard::model
