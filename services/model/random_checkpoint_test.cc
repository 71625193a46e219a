#include "services/model/random_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "kernels/base/thread_pool.h"
#include "services/base/file.h"
#include "services/model/checkpoint.h"
#include "services/model/config_json.h"

namespace switchyard::model {
namespace {

constexpr MixtralDimensions kSmall = {.hidden = 96,
                                      .intermediate = 160,
                                      .layers = 2,
                                      .heads = 6,
                                      .kv_heads = 1,
                                      .head_dim = 32,
                                      .experts = 5,
                                      .top_k = 3,
                                      .vocabulary = 7000};

std::string Folder(const std::string& name) {
  return testing::TempDir() + "/random_checkpoint_test/" + name;
}

std::string Bytes(const std::string& folder) {
  return *ReadWholeFile(folder + "/model.safetensors", 1 << 28);
}

TEST(RandomCheckpointTest, ConfigReadsBackAsTheSpec) {
  ModelSpec spec = MixtralSpec(kSmall);
  spec.eos_tokens = {2, 5};
  spec.layers[0].attention.sliding_window = 64;
  spec.layers[1].attention.sliding_window = 64;
  spec.norm_epsilon = 1e-6f;
  spec.tied_embeddings = true;
  const auto parsed = ParseConfig(ConfigJson(spec), "config.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  spec.bfloat16_weights = false;  // known when the weights are opened
  EXPECT_EQ(*parsed, spec);
}

TEST(RandomCheckpointTest, OpensWithNormalWeightsAndUnitNorms) {
  kernels::ThreadPool pool(2);
  for (const bool bfloat16 : {true, false}) {
    ModelSpec spec = MixtralSpec(kSmall);
    spec.bfloat16_weights = bfloat16;
    ASSERT_TRUE(WriteRandomCheckpoint(spec, 1, Folder("normal"), pool).ok());
    const auto checkpoint = Checkpoint::Open(Folder("normal"));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->spec(), spec);

    // Larger than a block of the generator.
    std::vector<float> embedding(7000 * 96);
    ASSERT_TRUE(
        checkpoint->ReadFloat32("model.embed_tokens.weight", 7000 * 96, embedding.data()).ok());
    double sum = 0;
    double squares = 0;
    for (const float value : embedding) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const auto count = static_cast<double>(embedding.size());
    EXPECT_NEAR(sum / count, 0, 1e-4);
    EXPECT_NEAR(std::sqrt(squares / count), 0.02, 1e-4);

    std::vector<float> norm(96);
    ASSERT_TRUE(checkpoint->ReadFloat32("model.norm.weight", 96, norm.data()).ok());
    EXPECT_EQ(norm, std::vector<float>(96, 1.0f));
  }
}

TEST(RandomCheckpointTest, BytesDependOnSpecAndSeedOnly) {
  kernels::ThreadPool one(1);
  kernels::ThreadPool two(2);
  const ModelSpec spec = MixtralSpec(kSmall);
  ASSERT_TRUE(WriteRandomCheckpoint(spec, 1, Folder("one"), one).ok());
  ASSERT_TRUE(WriteRandomCheckpoint(spec, 1, Folder("two"), two).ok());
  ASSERT_TRUE(WriteRandomCheckpoint(spec, 2, Folder("other"), two).ok());
  EXPECT_TRUE(Bytes(Folder("one")) == Bytes(Folder("two")));
  EXPECT_FALSE(Bytes(Folder("one")) == Bytes(Folder("other")));
  EXPECT_EQ(Checkpoint::Open(Folder("one"))->digest(), Checkpoint::Open(Folder("two"))->digest());
  EXPECT_NE(Checkpoint::Open(Folder("one"))->digest(), Checkpoint::Open(Folder("other"))->digest());
}

TEST(RandomCheckpointTest, UnwritableFolderIsAnError) {
  kernels::ThreadPool pool(1);
  EXPECT_FALSE(WriteRandomCheckpoint(MixtralSpec(kSmall), 1, "/proc/nowhere", pool).ok());
}

}  // namespace
}  // namespace switchyard::model
