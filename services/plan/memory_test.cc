// The plan against what is really loaded.

#include "services/plan/memory.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bazel/fixtures/fixtures.h"
#include "kernels/base/thread_pool.h"
#include "services/model/checkpoint.h"

namespace switchyard::plan {
namespace {

using kernels::NumericsClass;

int64_t Size(const kernels::PackedMatrix& matrix) { return static_cast<int64_t>(matrix.bytes()); }
int64_t Size(const kernels::Buffer& buffer) { return static_cast<int64_t>(buffer.size()); }
int64_t Size(const kernels::ExpertWeights& expert) { return static_cast<int64_t>(expert.bytes()); }
int64_t Size(const kernels::Floats& values) {
  return static_cast<int64_t>(values.size() * sizeof(float));
}
int64_t Size(const std::vector<kernels::PackedMatrix>& matrices) {
  int64_t sum = 0;
  for (const kernels::PackedMatrix& matrix : matrices) sum += Size(matrix);
  return sum;
}

template <typename... Parts>
int64_t Sum(const Parts&... parts) {
  return (Size(parts) + ...);
}

int64_t Size(const model::AttentionWeights& w) {
  return Sum(w.norm, w.norm_bias, w.q, w.k, w.v, w.output, w.q_bias, w.k_bias, w.v_bias,
             w.output_bias, w.q_norm, w.k_norm, w.sinks, w.relative_bias) +
         Sum(w.mla.query_down, w.mla.query_up, w.mla.query_down_bias, w.mla.query_norm,
             w.mla.latent, w.mla.latent_bias, w.mla.latent_norm, w.mla.key_up, w.mla.value_up);
}

int64_t Size(const std::vector<model::RouterLayerWeights>& layers) {
  int64_t sum = 0;
  for (const model::RouterLayerWeights& w : layers) {
    sum += Size(w.attention) + Size(w.cross_attention) +
           Sum(w.ffn_norm, w.ffn_norm_bias, w.router, w.router_bias, w.correction_bias, w.dense,
               w.shared, w.shared_gate);
  }
  return sum;
}

class MemoryTest : public ::testing::TestWithParam<const char*> {};

TEST_P(MemoryTest, EqualsWhatIsLoaded) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string(GetParam()));
  const auto checkpoint = model::Checkpoint::OpenToRead(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const model::ModelSpec& spec = checkpoint->spec();
  kernels::ThreadPool pool(1);
  for (const NumericsClass numerics : {NumericsClass::kFp32, NumericsClass::kBf16}) {
    const auto layers = static_cast<int64_t>(spec.layers.size());
    const auto stage = model::LoadStage(*checkpoint, 0, layers, numerics, pool, nullptr);
    ASSERT_TRUE(stage.ok()) << stage.status();
    // The fixtures store fp32; the plan takes the embedding to be of the class's type.
    const int64_t embedding = Size(stage->embedding) /
                              static_cast<int64_t>(kernels::SizeOf(stage->embedding_type)) *
                              static_cast<int64_t>(kernels::SizeOf(kernels::WireType(numerics)));
    int64_t loaded = embedding + Size(stage->layers) +
                     Sum(stage->positions, stage->final_norm, stage->final_norm_bias, stage->head,
                         stage->head_bias);
    if (!spec.encoder_layers.empty()) {
      const auto encoder = model::LoadEncoder(*checkpoint, numerics, pool, nullptr);
      ASSERT_TRUE(encoder.ok()) << encoder.status();
      loaded += Size(encoder->layers) + Sum(encoder->final_norm, encoder->final_norm_bias);
    }
    EXPECT_EQ(RouterWeightBytes(spec, numerics), loaded);
    for (const int64_t layer : spec.MoeLayers()) {
      const auto expert = model::LoadExpert(*checkpoint, layer, 0, numerics, pool);
      ASSERT_TRUE(expert.ok()) << expert.status();
      EXPECT_EQ(ExpertBytes(spec, layer, numerics), Size(*expert));
    }
  }
}

TEST(ActivationBytesTest, RowsThatShareACapacityHaveRoomTogether) {
  model::ModelSpec spec;
  spec.hidden = 64;
  spec.max_positions = 1024;
  spec.layers.resize(2);
  spec.layers[1].ffn.router = model::RouterSpec{.experts = 8, .top_k = 2};
  const int64_t cut = ActivationBytes(spec, NumericsClass::kBf16);
  spec.layers[1].ffn.router->capacity_factor = 1.25;
  EXPECT_EQ(ActivationBytes(spec, NumericsClass::kBf16), 2 * cut);
}

TEST(ActivationBytesTest, CountsBatchesScratchAndLogits) {
  model::ModelSpec spec;
  spec.hidden = 64;
  spec.vocabulary = 1000;
  spec.max_positions = 1024;
  spec.layers.resize(1);
  spec.layers[0].ffn.intermediate = 128;
  spec.layers[0].attention = {
      .heads = 4,
      .kv_heads = 4,
      .head_dim = 24,
      .value_dim = 16,
      .kind = model::AttentionKind::kMla,
      .mla = {.q_lora_rank = 48, .kv_lora_rank = 32, .nope_dim = 16, .rope_dim = 8}};
  // In a row of a micro-batch: residual stream, norm, projection and (heads * 24 + 40) floats
  // before attention; norm and heads * 32 latents for the wire.
  const int64_t row = 4 * (3 * 64 + 136) + 2 * (64 + 128);
  // Once: the low rank twice, queries of 40 and values of 16 a head, 136 elements for the wire; 128
  // inside the dense layer.
  const int64_t scratch = 48 * (4 + 2) + 4 * (4 * 40 + 4 * 16) + 2 * 136 + 2 * 128;
  EXPECT_EQ(ActivationBytes(spec, NumericsClass::kBf16), 512 * (2 * row + scratch) + 64 * 1000 * 4);
}

INSTANTIATE_TEST_SUITE_P(Families, MemoryTest,
                         ::testing::Values("models/mixtral", "models/llama",
                                           "models/deepseek_v2_lite", "models/deepseek_v3",
                                           "models/glm4_moe", "models/gpt_oss", "models/olmoe",
                                           "models/phimoe", "models/qwen2_moe", "models/qwen3_moe",
                                           "models/switch", "own_models/deepseek_v3_fp8",
                                           "own_models/glam_drops", "own_models/gpt_moe_learned"),
                         [](const auto& info) {
                           const std::string path = info.param;
                           return path.substr(path.find('/') + 1);
                         });

}  // namespace
}  // namespace switchyard::plan
