// Every family's checkpoint: nothing missing, nothing left over, and the weights land where they
// belong.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/checkpoint.h"
#include "services/model/safetensors_file.h"
#include "services/model/spoiled_checkpoint.h"

namespace switchyard::model {
namespace {

using kernels::NumericsClass;

constexpr const char* kCases[] = {"models/deepseek_v2",
                                  "models/deepseek_v2_lite",
                                  "models/deepseek_v3",
                                  "models/deepseek_v3_fp8",
                                  "models/deepseek_v3_mtp",
                                  "models/deepseek_v3_noqlora",
                                  "models/glm4_moe",
                                  "models/gpt_oss",
                                  "models/gpt_oss_mxfp4",
                                  "models/llama",
                                  "models/mixtral",
                                  "models/mixtral_bf16",
                                  "models/mixtral_fine",
                                  "models/mixtral_sharded",
                                  "models/mixtral_swa",
                                  "models/olmoe",
                                  "models/phimoe",
                                  "models/qwen2_moe",
                                  "models/qwen3_moe",
                                  "models/switch",
                                  "models/switch_drop",
                                  "own_models/deepseek_v3_fp8",
                                  "own_models/deepseek_v3_mtp",
                                  "own_models/glam_drops",
                                  "own_models/glam_no_drops",
                                  "own_models/gpt_moe_learned",
                                  "own_models/gpt_moe_sinusoidal"};

Checkpoint OpenOrDie(const std::string& folder) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::OpenToRead(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

StageWeights LoadAll(const Checkpoint& checkpoint, kernels::ThreadPool& pool) {
  const auto layers = static_cast<int64_t>(checkpoint.spec().layers.size());
  auto stage = LoadStage(checkpoint, 0, layers, NumericsClass::kFp32, pool, LoadProgress());
  EXPECT_TRUE(stage.ok()) << stage.status();
  return *std::move(stage);
}

// Puts the experts of every layer into two tensors, under the names of transformers 5.
void Fuse(const Checkpoint& separate, SpoiledCheckpoint& checkpoint) {
  const ModelSpec& spec = separate.spec();
  const TensorNames fused(spec, ExpertLayout::kFused);
  for (const int64_t layer : spec.MoeLayers()) {
    const FfnSpec& ffn = spec.layers[static_cast<size_t>(layer)].ffn;
    std::string gate_up, down;
    for (int64_t expert = 0; expert < ffn.router->experts; ++expert) {
      const ExpertSource names = separate.names().Expert(layer, expert);
      gate_up += checkpoint[names.gate.tensor].bytes + checkpoint[names.up.tensor].bytes;
      down += checkpoint[names.down.tensor].bytes;
      for (const MatrixSource* matrix : {&names.gate, &names.up, &names.down}) {
        checkpoint.Erase(matrix->tensor);
      }
    }
    const ExpertSource names = fused.Expert(layer, 0);
    const int64_t experts = ffn.router->experts, width = ffn.intermediate;
    checkpoint.tensors().push_back(
        {{names.gate.tensor, StoredType::kF32, {experts, 2 * width, spec.hidden}}, gate_up});
    checkpoint.tensors().push_back(
        {{names.down.tensor, StoredType::kF32, {experts, spec.hidden, width}}, down});
    checkpoint[separate.names().Layer(layer).router.tensor].declaration.name =
        fused.Layer(layer).router.tensor;
  }
}

TEST(FamilyCheckpointTest, EveryTensorIsAccountedForAndLoads) {
  kernels::ThreadPool pool(2);
  for (const char* name : kCases) {
    SCOPED_TRACE(name);
    SWITCHYARD_FIXTURE_OR_SKIP(folder, name);
    const auto checkpoint = Checkpoint::OpenToRead(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const ModelSpec& spec = checkpoint->spec();
    LoadAll(*checkpoint, pool);
    EXPECT_EQ(LoadMtp(*checkpoint, NumericsClass::kFp32, pool, {}).ok(), spec.mtp.has_value());
    EXPECT_EQ(LoadEncoder(*checkpoint, NumericsClass::kFp32, pool, {}).ok(),
              !spec.encoder_layers.empty());
    for (int64_t layer = 0; layer < spec.Blocks(); ++layer) {
      if (!spec.Block(layer).ffn.router) continue;
      for (int64_t expert = 0; expert < spec.Block(layer).ffn.router->experts; ++expert) {
        const auto weights = LoadExpert(*checkpoint, layer, expert, NumericsClass::kBf16, pool);
        ASSERT_TRUE(weights.ok()) << weights.status();
        EXPECT_EQ(weights->gated(), spec.Block(layer).ffn.gated);
        EXPECT_EQ(weights->gate.n(), spec.Block(layer).ffn.intermediate);
        EXPECT_EQ(weights->down_bias.empty(), !spec.Block(layer).ffn.bias);
        EXPECT_EQ(weights->down.k(), spec.Block(layer).ffn.intermediate);
      }
    }
  }
}

// What M[row][column] must be.
using Expected = std::function<float(int64_t row, int64_t column)>;

void ExpectMatrix(const kernels::PackedMatrix& matrix, int64_t n, int64_t k,
                  const Expected& expected) {
  ASSERT_EQ(matrix.n(), n);
  ASSERT_EQ(matrix.k(), k);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < k; ++column) {
      ASSERT_EQ(matrix.At(row, column), expected(row, column)) << row << ", " << column;
    }
  }
}

TEST(FamilyCheckpointTest, LatentProjectionIsSplitByHead) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "own_models/deepseek_v3_mtp");
  const Checkpoint checkpoint = OpenOrDie(folder);
  kernels::ThreadPool pool(2);
  const auto file = SafetensorsFile::Open(folder + "/model.safetensors");
  const auto check = [&](const MlaWeights& mla, const std::string& layer) {
    const std::vector<float> kv_b =
        *file->ReadAll<float>(layer + "self_attn.kv_b_proj.weight", StoredType::kF32);
    ASSERT_EQ(mla.key_up.size(), 4u);
    ASSERT_EQ(mla.value_up.size(), 4u);
    for (int64_t head = 0; head < 4; ++head) {
      const auto at = [&](int64_t row, int64_t column) {
        return kv_b[static_cast<size_t>((head * 22 + row) * 24 + column)];
      };
      ExpectMatrix(mla.key_up[static_cast<size_t>(head)], 24, 12,
                   [&](int64_t row, int64_t column) { return at(column, row); });
      ExpectMatrix(mla.value_up[static_cast<size_t>(head)], 10, 24,
                   [&](int64_t row, int64_t column) { return at(12 + row, column); });
    }
    EXPECT_EQ(mla.latent.n(), 32);
    EXPECT_EQ(mla.query_norm.size(), 20u);
    EXPECT_EQ(mla.latent_norm.size(), 24u);
  };
  const StageWeights stage = LoadAll(checkpoint, pool);
  check(stage.layers[2].attention.mla, "model.layers.2.");
  EXPECT_EQ(stage.layers[2].correction_bias.size(), 8u);
  EXPECT_EQ(stage.layers[2].shared.gate.n(), 24);
  const auto mtp = LoadMtp(checkpoint, NumericsClass::kFp32, pool, {});
  ASSERT_TRUE(mtp.ok()) << mtp.status();
  check(mtp->stage.layers.front().attention.mla, "model.layers.3.");
  EXPECT_EQ(mtp->combine.k(), 96);
  EXPECT_EQ(mtp->stage.head.n(), 203);
}

TEST(FamilyCheckpointTest, AlternatingExpertsAreTakenApart) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/gpt_oss");
  const Checkpoint checkpoint = OpenOrDie(folder);
  kernels::ThreadPool pool(3);
  const auto file = SafetensorsFile::Open(folder + "/model.safetensors");
  const std::string prefix = "model.layers.1.mlp.experts.";
  const auto read = [&](const std::string& name) {
    return *file->ReadAll<float>(prefix + name, StoredType::kF32);
  };
  const std::vector<float> gate_up = read("gate_up_proj"), down = read("down_proj");
  const std::vector<float> gate_up_bias = read("gate_up_proj_bias");
  const std::vector<float> down_bias = read("down_proj_bias");
  for (int64_t expert = 0; expert < 8; ++expert) {
    const auto weights = LoadExpert(checkpoint, 1, expert, NumericsClass::kFp32, pool);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const auto at = [&](int64_t row, int64_t column, int64_t odd) {
      return gate_up[static_cast<size_t>((expert * 64 + column) * 64 + 2 * row + odd)];
    };
    ExpectMatrix(weights->gate, 32, 64, [&](int64_t r, int64_t c) { return at(r, c, 0); });
    ExpectMatrix(weights->up, 32, 64, [&](int64_t r, int64_t c) { return at(r, c, 1); });
    ExpectMatrix(weights->down, 64, 32, [&](int64_t r, int64_t c) {
      return down[static_cast<size_t>((expert * 32 + c) * 64 + r)];
    });
    EXPECT_EQ(weights->activation, Activation::kClampedSwiGlu);
    EXPECT_EQ(weights->limit, 7.0f);
    ASSERT_EQ(weights->gate_bias.size(), 32u);
    for (size_t i = 0; i < 32; ++i) {
      const size_t at = static_cast<size_t>(expert) * 64 + 2 * i;
      EXPECT_EQ(weights->gate_bias[i], gate_up_bias[at]);
      EXPECT_EQ(weights->up_bias[i], gate_up_bias[at + 1]);
    }
    const auto begin = down_bias.begin() + expert * 64;
    EXPECT_EQ(weights->down_bias, kernels::Floats(begin, begin + 64));
  }
  const StageWeights stage = LoadAll(checkpoint, pool);
  EXPECT_EQ(stage.layers[1].attention.sinks.size(), 4u);
  EXPECT_EQ(stage.layers[1].router_bias.size(), 8u);
  EXPECT_EQ(stage.layers[1].attention.output_bias.size(), 64u);
}

// transformers 5 holds experts fused; Phi's router is renamed, too.
TEST(FamilyCheckpointTest, FusedNamesLoadTheSameExperts) {
  kernels::ThreadPool pool(2);
  for (const char* name : {"deepseek_v3", "phimoe", "qwen2_moe"}) {
    SCOPED_TRACE(name);
    SWITCHYARD_FIXTURE_OR_SKIP(source, std::string("models/") + name);
    const Checkpoint separate = OpenOrDie(source);
    SpoiledCheckpoint fusing(source, "fused");
    Fuse(separate, fusing);
    const auto fused = fusing.Open();
    ASSERT_TRUE(fused.ok()) << fused.status();
    const int64_t layer = separate.spec().MoeLayers().back();
    for (const int64_t expert : {0, 5}) {
      const auto expected = LoadExpert(separate, layer, expert, NumericsClass::kFp32, pool);
      const auto weights = LoadExpert(*fused, layer, expert, NumericsClass::kFp32, pool);
      ASSERT_TRUE(weights.ok()) << weights.status();
      for (const auto matrix : {&kernels::ExpertWeights::gate, &kernels::ExpertWeights::up,
                                &kernels::ExpertWeights::down}) {
        const kernels::PackedMatrix& wanted = (*expected).*matrix;
        ExpectMatrix((*weights).*matrix, wanted.n(), wanted.k(),
                     [&](int64_t row, int64_t column) { return wanted.At(row, column); });
      }
    }
  }
}

TEST(FamilyCheckpointTest, Mxfp4IsDequantised) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/gpt_oss_mxfp4");
  const Checkpoint checkpoint = OpenOrDie(folder);
  kernels::ThreadPool pool(2);
  const auto file = SafetensorsFile::Open(folder + "/model.safetensors");
  const std::string prefix = "model.layers.0.mlp.experts.";
  const auto read = [&](const std::string& name) {
    return *file->ReadAll<uint8_t>(prefix + name, StoredType::kU8);
  };
  // Element (expert, row, column) of 64 rows of `width`.
  const auto value = [](const std::vector<uint8_t>& blocks, const std::vector<uint8_t>& scales,
                        int64_t width, int64_t expert, int64_t row, int64_t column) {
    constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    const auto index = static_cast<size_t>((expert * 64 + row) * width + column);
    const int code = index % 2 == 0 ? blocks[index / 2] & 15 : blocks[index / 2] >> 4;
    const double magnitude = std::ldexp(kMagnitudes[code & 7], scales[index / 32] - 127);
    return static_cast<float>(code & 8 ? -magnitude : magnitude);
  };
  const auto blocks = read("gate_up_proj_blocks"), scales = read("gate_up_proj_scales");
  const auto down_blocks = read("down_proj_blocks"), down_scales = read("down_proj_scales");
  for (const NumericsClass numerics : {NumericsClass::kFp32, NumericsClass::kBf16}) {
    const auto weights = LoadExpert(checkpoint, 0, 5, numerics, pool);
    ASSERT_TRUE(weights.ok()) << weights.status();
    ExpectMatrix(weights->gate, 32, 64,
                 [&](int64_t r, int64_t c) { return value(blocks, scales, 64, 5, 2 * r, c); });
    ExpectMatrix(weights->up, 32, 64,
                 [&](int64_t r, int64_t c) { return value(blocks, scales, 64, 5, 2 * r + 1, c); });
    ExpectMatrix(weights->down, 64, 32, [&](int64_t r, int64_t c) {
      return value(down_blocks, down_scales, 32, 5, r, c);
    });
  }
}

float E4m3(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const double fraction = (bits & 7) / 8.0;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return static_cast<float>(bits & 128 ? -magnitude : magnitude);
}

TEST(FamilyCheckpointTest, Fp8BlocksAreDequantisedToTheirRaggedEdges) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/deepseek_v3_fp8");
  const Checkpoint checkpoint = OpenOrDie(folder);
  kernels::ThreadPool pool(2);
  const StageWeights stage = LoadAll(checkpoint, pool);
  const auto file = SafetensorsFile::Open(folder + "/model.safetensors");
  const std::string prefix = "model.layers.0.self_attn.";
  const auto expected = [&](const std::string& name, int64_t columns) {
    const SafetensorsTensor* tensor = file->Find(prefix + name + ".weight");
    std::vector<uint8_t> bytes(tensor->bytes());
    EXPECT_TRUE(file->Read(*tensor, 0, tensor->bytes(), bytes.data()).ok());
    const auto scales =
        *file->ReadAll<float>(prefix + name + ".weight_scale_inv", StoredType::kF32);
    return [=](int64_t row, int64_t column) {
      return E4m3(bytes[static_cast<size_t>(row * columns + column)]) *
             scales[static_cast<size_t>(row / 128 * ((columns + 127) / 128) + column / 128)];
    };
  };
  const MlaWeights& mla = stage.layers[0].attention.mla;
  ExpectMatrix(mla.latent, 160, 160, expected("kv_a_proj_with_mqa", 160));
  ExpectMatrix(mla.query_up, 160, 40, expected("q_b_proj", 40));
  const auto kv_b = expected("kv_b_proj", 144);
  // The last head's rows 120 to 159 cross the block that begins at row 128.
  ExpectMatrix(mla.key_up[3], 144, 24, [&](int64_t r, int64_t c) { return kv_b(120 + c, r); });
  ExpectMatrix(mla.value_up[3], 16, 144, [&](int64_t r, int64_t c) { return kv_b(144 + r, c); });
}

TEST(FamilyCheckpointTest, PartsOfTheOtherFamilies) {
  kernels::ThreadPool pool(1);
  SWITCHYARD_FIXTURE_OR_SKIP(phi, "models/phimoe");
  const StageWeights phimoe = LoadAll(OpenOrDie(phi), pool);
  EXPECT_EQ(phimoe.head_bias.size(), 128u);
  EXPECT_EQ(phimoe.final_norm_bias.size(), 64u);
  EXPECT_EQ(phimoe.layers[0].ffn_norm_bias.size(), 64u);
  EXPECT_EQ(phimoe.layers[0].attention.k_bias.size(), 32u);
  SWITCHYARD_FIXTURE_OR_SKIP(qwen, "models/qwen2_moe");
  const StageWeights qwen2 = LoadAll(OpenOrDie(qwen), pool);
  EXPECT_EQ(qwen2.layers[1].shared_gate.n(), 1);
  EXPECT_EQ(qwen2.layers[1].shared.gate.n(), 40);
  EXPECT_EQ(qwen2.layers[0].dense.gate.n(), 64);
  SWITCHYARD_FIXTURE_OR_SKIP(olmo, "models/olmoe");
  const StageWeights olmoe = LoadAll(OpenOrDie(olmo), pool);
  EXPECT_EQ(olmoe.layers[0].attention.q_norm.size(), 64u);
  EXPECT_EQ(olmoe.layers[0].attention.k_norm.size(), 32u);
  SWITCHYARD_FIXTURE_OR_SKIP(gpt, "own_models/gpt_moe_learned");
  EXPECT_EQ(LoadAll(OpenOrDie(gpt), pool).positions.size(), 64u * 32);
  SWITCHYARD_FIXTURE_OR_SKIP(switched, "models/switch");
  const Checkpoint t5 = OpenOrDie(switched);
  const StageWeights decoder = LoadAll(t5, pool);
  EXPECT_EQ(decoder.layers[0].attention.relative_bias.size(), 32u * 4);
  EXPECT_EQ(decoder.layers[1].attention.relative_bias, decoder.layers[0].attention.relative_bias);
  EXPECT_EQ(decoder.layers[3].cross_attention.q.n(), 64);
  const auto encoder = LoadEncoder(t5, NumericsClass::kFp32, pool, {});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ(encoder->layers.size(), 4u);
  EXPECT_EQ(encoder->final_norm.size(), 48u);
}

}  // namespace
}  // namespace switchyard::model
