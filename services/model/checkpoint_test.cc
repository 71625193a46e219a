#include "services/model/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "kernels/base/bf16.h"
#include "services/base/file.h"
#include "services/model/random_checkpoint.h"
#include "services/model/safetensors_file.h"
#include "services/model/safetensors_writer.h"

namespace switchyard::model {
namespace {

using kernels::NumericsClass;

// 700 rows of 1500 make several pieces of a matrix, the last one ragged, with an odd k.
constexpr MixtralDimensions kDimensions = {.hidden = 75,
                                           .intermediate = 1500,
                                           .layers = 2,
                                           .heads = 4,
                                           .kv_heads = 2,
                                           .head_dim = 10,
                                           .experts = 3,
                                           .top_k = 2,
                                           .vocabulary = 2700};

std::string Folder(const std::string& name) {
  return ::testing::TempDir() + "/checkpoint_test/" + name;
}

Checkpoint OpenOrDie(const std::string& folder) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

Checkpoint RandomCheckpoint(const std::string& name, bool bfloat16 = true) {
  kernels::ThreadPool pool(2);
  ModelSpec spec = MixtralSpec(kDimensions);
  spec.bfloat16_weights = bfloat16;
  EXPECT_TRUE(WriteRandomCheckpoint(spec, 7, Folder(name), pool).ok());
  return OpenOrDie(Folder(name));
}

std::vector<float> Values(const Checkpoint& checkpoint, const std::string& tensor) {
  const TensorInfo* info = checkpoint.Find(tensor);
  EXPECT_NE(info, nullptr) << tensor;
  const int64_t count = std::accumulate(info->shape.begin(), info->shape.end(), int64_t{1},
                                        std::multiplies<int64_t>());
  std::vector<float> values(static_cast<size_t>(count));
  EXPECT_TRUE(checkpoint.ReadFloat32(tensor, count, values.data()).ok());
  return values;
}

// The matrix holds rows [first_row, first_row + n) of `values`, rounded where the class asks for
// it.
void ExpectMatrix(const kernels::PackedMatrix& matrix, const std::vector<float>& values,
                  int64_t first_row = 0) {
  ASSERT_GT(matrix.n(), 0);
  for (int64_t row = 0; row < matrix.n(); ++row) {
    for (int64_t column = 0; column < matrix.k(); ++column) {
      float value = values[static_cast<size_t>((first_row + row) * matrix.k() + column)];
      if (matrix.numerics() != NumericsClass::kFp32) value = kernels::RoundToBf16(value);
      ASSERT_EQ(matrix.At(row, column), value) << row << ", " << column;
    }
  }
}

TEST(CheckpointTest, LoadMatrixEqualsTheFileInEveryClassAndThreadCount) {
  const std::string name = "model.layers.1.block_sparse_moe.experts.2.w2.weight";
  const std::string head = "lm_head.weight";
  for (const bool bfloat16 : {true, false}) {
    const Checkpoint checkpoint = RandomCheckpoint("load", bfloat16);
    EXPECT_EQ(checkpoint.spec().bfloat16_weights, bfloat16);
    for (const NumericsClass numerics : {NumericsClass::kFp32, NumericsClass::kBf16}) {
      for (const int threads : {1, 2, 3}) {
        kernels::ThreadPool pool(threads);
        const auto matrix = checkpoint.LoadMatrix(name, 75, 1500, numerics, pool);
        ASSERT_TRUE(matrix.ok()) << matrix.status();
        ExpectMatrix(*matrix, Values(checkpoint, name));
        const auto tall = checkpoint.LoadMatrix(head, 2700, 75, numerics, pool);
        ASSERT_TRUE(tall.ok()) << tall.status();
        ExpectMatrix(*tall, Values(checkpoint, head));
      }
    }
  }
}

TEST(CheckpointTest, RangesAreCheckedAndReadAsStored) {
  const Checkpoint checkpoint = RandomCheckpoint("ranges");
  kernels::ThreadPool pool(1);
  const std::string name = "model.embed_tokens.weight";
  const std::vector<float> values = Values(checkpoint, name);
  std::vector<uint16_t> rows(2 * 75);
  ASSERT_TRUE(checkpoint.ReadRows(name, 11, 2, rows.data()).ok());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(kernels::Bf16ToFloat(rows[i]), values[11 * 75 + i]);
  }
  uint16_t element;
  ASSERT_TRUE(checkpoint.ReadRows("model.norm.weight", 74, 1, &element).ok());
  EXPECT_EQ(kernels::Bf16ToFloat(element), 1.0f);

  EXPECT_FALSE(checkpoint.ReadRows(name, 2699, 2, rows.data()).ok());
  EXPECT_FALSE(checkpoint.ReadRows(name, -1, 1, rows.data()).ok());
  EXPECT_FALSE(checkpoint.ReadFloat32("model.norm.weight", 74, nullptr).ok());
  EXPECT_FALSE(checkpoint.LoadMatrix(name, 75, 2700, NumericsClass::kFp32, pool).ok());
  const auto missing = checkpoint.LoadMatrix("absent", 1, 1, NumericsClass::kFp32, pool);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("\"absent\""), std::string::npos);
}

TEST(CheckpointTest, LoadsExpertsGateUpDownFromW1W3W2) {
  const Checkpoint checkpoint = RandomCheckpoint("expert");
  kernels::ThreadPool pool(2);
  const auto expert = LoadExpert(checkpoint, 1, 2, NumericsClass::kBf16, pool);
  ASSERT_TRUE(expert.ok()) << expert.status();
  const std::string prefix = "model.layers.1.block_sparse_moe.experts.2.";
  ExpectMatrix(expert->gate, Values(checkpoint, prefix + "w1.weight"));
  ExpectMatrix(expert->up, Values(checkpoint, prefix + "w3.weight"));
  ExpectMatrix(expert->down, Values(checkpoint, prefix + "w2.weight"));
  for (const auto& [layer, index] : {std::pair{-1, 0}, {2, 0}, {0, -1}, {0, 3}}) {
    EXPECT_EQ(LoadExpert(checkpoint, layer, index, NumericsClass::kBf16, pool).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(CheckpointTest, StagesHoldTheirLayersAndTheEnds) {
  const Checkpoint checkpoint = RandomCheckpoint("stages");
  kernels::ThreadPool pool(2);
  std::vector<int64_t> done;
  int64_t total = 0;
  const auto first = LoadStage(checkpoint, 0, 1, NumericsClass::kBf16, pool,
                               [&](int64_t bytes_done, int64_t bytes_total) {
                                 done.push_back(bytes_done);
                                 total = bytes_total;
                               });
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), total);
  ASSERT_EQ(first->layers.size(), 1u);
  EXPECT_EQ(first->embedding.size(), 2700u * 75 * 2);
  EXPECT_EQ(first->embedding_type, kernels::DType::kBfloat16);
  EXPECT_TRUE(first->final_norm.empty());
  EXPECT_EQ(first->head.n(), 0);
  const RouterLayerWeights& layer = first->layers[0];
  ExpectMatrix(layer.attention.k, Values(checkpoint, "model.layers.0.self_attn.k_proj.weight"));
  ExpectMatrix(layer.router, Values(checkpoint, "model.layers.0.block_sparse_moe.gate.weight"));
  EXPECT_EQ(layer.router.numerics(), NumericsClass::kFp32);
  EXPECT_EQ(layer.attention.output.numerics(), NumericsClass::kBf16);
  EXPECT_EQ(layer.ffn_norm, kernels::Floats(75, 1.0f));
  EXPECT_EQ(layer.dense.gate.n(), 0);

  const auto last = LoadStage(checkpoint, 1, 2, NumericsClass::kBf16, pool, LoadProgress());
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->first_layer, 1);
  EXPECT_EQ(last->embedding.size(), 0u);
  EXPECT_EQ(last->final_norm.size(), 75u);
  ExpectMatrix(last->head, Values(checkpoint, "lm_head.weight"));
  ExpectMatrix(last->layers[0].attention.q,
               Values(checkpoint, "model.layers.1.self_attn.q_proj.weight"));

  EXPECT_FALSE(LoadStage(checkpoint, 1, 3, NumericsClass::kBf16, pool, LoadProgress()).ok());
}

// transformers 5 holds the experts of a layer in two tensors: the same weights under those names.
TEST(CheckpointTest, FusedExpertsLoadLikeSeparateOnes) {
  const Checkpoint separate = RandomCheckpoint("separate", false);
  const std::string fused_folder = Folder("fused");
  std::filesystem::create_directories(fused_folder);
  ASSERT_TRUE(WriteWholeFile(fused_folder + "/config.json", ConfigJson(separate.spec())).ok());

  const auto source = SafetensorsFile::Open(Folder("separate") + "/model.safetensors");
  std::vector<TensorDeclaration> declarations;
  const auto renamed = [](std::string name) {
    const size_t at = name.find("block_sparse_moe.gate");
    return at == std::string::npos ? name : name.replace(at, 16, "mlp");
  };
  for (const auto& [name, tensor] : source->tensors()) {
    if (name.find(".experts.") != std::string::npos) continue;
    declarations.push_back({renamed(name), tensor.type, tensor.shape});
  }
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    const std::string prefix = std::string(layer) + "mlp.experts.";
    declarations.push_back({prefix + "gate_up_proj", StoredType::kF32, {3, 3000, 75}});
    declarations.push_back({prefix + "down_proj", StoredType::kF32, {3, 75, 1500}});
  }
  auto writer = SafetensorsWriter::Create(fused_folder + "/model.safetensors", declarations);
  ASSERT_TRUE(writer.ok());
  for (const auto& [name, tensor] : source->tensors()) {
    const std::vector<float> values = *source->ReadAll<float>(name, StoredType::kF32);
    const size_t at = name.find("block_sparse_moe.experts.");
    if (at == std::string::npos) {
      ASSERT_TRUE(writer->Write(renamed(name), values.data()).ok());
      continue;
    }
    const uint64_t expert = static_cast<uint64_t>(name[at + 25] - '0');
    const bool down = name.find(".w2.") != std::string::npos;
    const uint64_t half = name.find(".w3.") != std::string::npos ? 1 : 0;
    const uint64_t bytes = tensor.bytes();
    ASSERT_TRUE(
        writer
            ->Write(name.substr(0, at) + "mlp.experts." + (down ? "down" : "gate_up") + "_proj",
                    down ? expert * bytes : (2 * expert + half) * bytes, values.data(), bytes)
            .ok());
  }
  ASSERT_TRUE(writer->Finish().ok());

  const Checkpoint fused = OpenOrDie(fused_folder);
  kernels::ThreadPool pool(2);
  for (int64_t expert = 0; expert < 3; ++expert) {
    const auto weights = LoadExpert(fused, 1, expert, NumericsClass::kFp32, pool);
    ASSERT_TRUE(weights.ok()) << weights.status();
    const std::string prefix =
        "model.layers.1.block_sparse_moe.experts." + std::to_string(expert) + ".";
    ExpectMatrix(weights->gate, Values(separate, prefix + "w1.weight"));
    ExpectMatrix(weights->up, Values(separate, prefix + "w3.weight"));
    ExpectMatrix(weights->down, Values(separate, prefix + "w2.weight"));
  }
  const auto stage = LoadStage(fused, 0, 2, NumericsClass::kFp32, pool, LoadProgress());
  ASSERT_TRUE(stage.ok()) << stage.status();
  ExpectMatrix(stage->layers[0].router,
               Values(separate, "model.layers.0.block_sparse_moe.gate.weight"));
}

TEST(CheckpointTest, FileCutOffAfterOpeningIsAnErrorOfTheLoad) {
  const Checkpoint checkpoint = RandomCheckpoint("cut");
  kernels::ThreadPool pool(2);
  ASSERT_EQ(truncate((Folder("cut") + "/model.safetensors").c_str(), 1 << 16), 0);
  const auto stage = LoadStage(checkpoint, 0, 2, NumericsClass::kFp32, pool, LoadProgress());
  EXPECT_EQ(stage.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(stage.status().message().find("model.safetensors is truncated"), std::string::npos);
}

TEST(CheckpointTest, DigestFollowsTheContentAndNotThePlace) {
  const uint64_t digest = RandomCheckpoint("digest").digest();
  std::filesystem::remove_all(Folder("copy"));
  std::filesystem::copy(Folder("digest"), Folder("copy"));
  EXPECT_EQ(OpenOrDie(Folder("copy")).digest(), digest);
  ASSERT_TRUE(WriteWholeFile(Folder("copy") + "/generation_config.json", "{}").ok());
  EXPECT_EQ(OpenOrDie(Folder("copy")).digest(), digest);
  std::string config = *ReadWholeFile(Folder("copy") + "/config.json", 1 << 20);
  config.replace(config.find("silu"), 4, "swish");
  ASSERT_TRUE(WriteWholeFile(Folder("copy") + "/config.json", config).ok());
  EXPECT_NE(OpenOrDie(Folder("copy")).digest(), digest);
}

// The tiny reference checkpoints.

TEST(FixtureCheckpointTest, EveryFamilyInScopeOpensAndLoads) {
  kernels::ThreadPool pool(2);
  for (const char* name :
       {"mixtral", "mixtral_sharded", "mixtral_swa", "mixtral_fine", "mixtral_bf16", "llama"}) {
    SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string("models/") + name);
    const auto checkpoint = Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->spec().bfloat16_weights, std::string(name) == "mixtral_bf16");
    const auto layers = static_cast<int64_t>(checkpoint->spec().layers.size());
    const auto stage =
        LoadStage(*checkpoint, 0, layers, NumericsClass::kFp32, pool, LoadProgress());
    EXPECT_TRUE(stage.ok()) << stage.status();
    for (const int64_t layer : checkpoint->spec().MoeLayers()) {
      for (int64_t expert = 0; expert < checkpoint->spec().layers[0].ffn.router->experts;
           ++expert) {
        EXPECT_TRUE(LoadExpert(*checkpoint, layer, expert, NumericsClass::kFp32, pool).ok());
      }
    }
  }
}

TEST(FixtureCheckpointTest, ShardedHoldsTheSameWeightsAsWhole) {
  SWITCHYARD_FIXTURE_OR_SKIP(whole_folder, "models/mixtral");
  SWITCHYARD_FIXTURE_OR_SKIP(sharded_folder, "models/mixtral_sharded");
  const Checkpoint whole = OpenOrDie(whole_folder);
  const Checkpoint sharded = OpenOrDie(sharded_folder);
  int tensors = 0;
  const auto same = [&](const std::string& name, const std::vector<int64_t>&) {
    ++tensors;
    EXPECT_EQ(Values(whole, name), Values(sharded, name)) << name;
    return absl::OkStatus();
  };
  ASSERT_TRUE(whole.names().ForEach(same).ok());
  EXPECT_EQ(tensors, 3 + 4 * (2 + 4 + 1 + 8 * 3));
}

TEST(FixtureCheckpointTest, TiedHeadIsTheEmbedding) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, "models/llama");
  const Checkpoint checkpoint = OpenOrDie(folder);
  kernels::ThreadPool pool(1);
  const auto stage = LoadStage(checkpoint, 0, 3, NumericsClass::kFp32, pool, LoadProgress());
  ASSERT_TRUE(stage.ok()) << stage.status();
  ExpectMatrix(stage->head, Values(checkpoint, "model.embed_tokens.weight"));
  ExpectMatrix(stage->layers[2].dense.down,
               Values(checkpoint, "model.layers.2.mlp.down_proj.weight"));
  EXPECT_EQ(stage->layers[2].router.n(), 0);
}

// Every safetensors file among the fixtures, of families and types still to come.
TEST(FixtureCheckpointTest, EverySafetensorsFileParses) {
  SWITCHYARD_FIXTURE_OR_SKIP(mixtral, "models/mixtral");
  int files = 0;
  const auto models = std::filesystem::path(mixtral).parent_path();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(models)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto file = SafetensorsFile::Open(entry.path().string());
    EXPECT_TRUE(file.ok()) << file.status();
    ++files;
  }
  EXPECT_GE(files, 40);
}

}  // namespace
}  // namespace switchyard::model
