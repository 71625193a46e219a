// Checkpoint folders that must be refused, each starting from a good one.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/base/file.h"
#include "services/model/checkpoint.h"
#include "services/model/random_checkpoint.h"
#include "services/model/tensor_edit.h"

namespace switchyard::model {
namespace {

namespace fs = std::filesystem;

using Tensor = EditableTensor;

class BadCheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    kernels::ThreadPool pool(1);
    const ModelSpec spec = MixtralSpec({.hidden = 32,
                                        .intermediate = 16,
                                        .layers = 2,
                                        .heads = 2,
                                        .kv_heads = 1,
                                        .head_dim = 16,
                                        .experts = 3,
                                        .top_k = 2,
                                        .vocabulary = 40});
    ASSERT_TRUE(WriteRandomCheckpoint(spec, 1, folder_, pool).ok());
    ASSERT_TRUE(Checkpoint::Open(folder_).ok());
  }

  std::string Weights() const { return folder_ + "/model.safetensors"; }
  std::string Index() const { return folder_ + "/model.safetensors.index.json"; }

  void EditConfig(const std::string& key, const nlohmann::json& value) {
    const std::string path = folder_ + "/config.json";
    nlohmann::json config = nlohmann::json::parse(*ReadWholeFile(path, 1 << 20));
    config[key] = value;
    ASSERT_TRUE(WriteWholeFile(path, config.dump()).ok());
  }

  void EditTensors(const std::function<void(std::vector<Tensor>&)>& edit) {
    std::vector<Tensor> tensors = ReadTensors(Weights());
    edit(tensors);
    WriteTensors(Weights(), tensors);
  }

  // Splits the single file in two shards with an index, which `edit` may change.
  void Shard(const std::function<void(nlohmann::json& weight_map)>& edit) {
    std::vector<Tensor> tensors = ReadTensors(Weights());
    const std::vector<Tensor> tail(tensors.begin() + 5, tensors.end());
    tensors.resize(5);
    nlohmann::json index;
    for (const Tensor& tensor : tensors) {
      index["weight_map"][tensor.declaration.name] = "a.safetensors";
    }
    for (const Tensor& tensor : tail) {
      index["weight_map"][tensor.declaration.name] = "b.safetensors";
    }
    WriteTensors(folder_ + "/a.safetensors", tensors);
    WriteTensors(folder_ + "/b.safetensors", tail);
    unlink(Weights().c_str());
    edit(index["weight_map"]);
    ASSERT_TRUE(WriteWholeFile(Index(), index.dump()).ok());
  }

  void ExpectRefused(const std::string& text) const {
    const auto checkpoint = Checkpoint::Open(folder_);
    ASSERT_FALSE(checkpoint.ok()) << text;
    EXPECT_NE(checkpoint.status().message().find(text), std::string::npos)
        << checkpoint.status() << "\nwanted " << text;
  }

  const std::string folder_ = testing::TempDir() + "/bad_checkpoint_test";
};

TEST_F(BadCheckpointTest, ShardedIsAsGoodAsWhole) {
  Shard([](nlohmann::json&) {});
  const auto checkpoint = Checkpoint::Open(folder_);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
}

TEST_F(BadCheckpointTest, MissingFiles) {
  unlink((folder_ + "/config.json").c_str());
  ExpectRefused("config.json");
  fs::remove_all(folder_);
  ExpectRefused(folder_);
}

TEST_F(BadCheckpointTest, TruncatedWeights) {
  const auto size = static_cast<off_t>(fs::file_size(Weights()));
  for (const off_t bytes : {size - 1, size / 2, off_t{100}, off_t{7}, off_t{0}}) {
    ASSERT_EQ(truncate(Weights().c_str(), bytes), 0);
    ExpectRefused(Weights());
  }
}

TEST_F(BadCheckpointTest, WeightsThatGrewOrAreNoSafetensors) {
  ASSERT_EQ(truncate(Weights().c_str(), static_cast<off_t>(fs::file_size(Weights())) + 8), 0);
  ExpectRefused("8 bytes after the last tensor");
  ASSERT_TRUE(WriteWholeFile(Weights(), "version https://git-lfs.github.com/spec/v1\n").ok());
  ExpectRefused("Is this a safetensors file?");
}

TEST_F(BadCheckpointTest, MissingTensor) {
  EditTensors([](auto& tensors) {
    std::erase_if(tensors, [](const Tensor& tensor) {
      return tensor.declaration.name == "model.layers.1.block_sparse_moe.experts.2.w2.weight";
    });
  });
  ExpectRefused(
      "tensor \"model.layers.1.block_sparse_moe.experts.2.w2.weight\" [32, 16], which "
      "config.json calls for, is missing");
}

TEST_F(BadCheckpointTest, WrongShape) {
  EditTensors([](auto& tensors) {
    Named(tensors, "model.layers.0.self_attn.k_proj.weight").declaration.shape = {32, 16};
  });
  ExpectRefused(
      "tensor \"model.layers.0.self_attn.k_proj.weight\" has shape [32, 16]; config.json "
      "calls for [16, 32]");
}

TEST_F(BadCheckpointTest, TypeThatCannotBeComputedWith) {
  EditTensors(
      [](auto& tensors) { Named(tensors, "lm_head.weight").declaration.type = StoredType::kF16; });
  ExpectRefused("tensor \"lm_head.weight\" has type F16; only F32 and BF16");
}

TEST_F(BadCheckpointTest, UnknownTensorsAreListedAndHarmlessOnesPass) {
  EditTensors([](auto& tensors) {
    tensors.push_back({{"model.layers.0.self_attn.rotary_emb.inv_freq", StoredType::kF32, {1}},
                       std::string(4, '\0')});
  });
  EXPECT_TRUE(Checkpoint::Open(folder_).ok());
  EditTensors([](auto& tensors) {
    for (const char* name : {"model.layers.0.self_attn.q_proj.bias", "model.layers.2.x"}) {
      tensors.push_back({{name, StoredType::kF32, {1}}, std::string(4, '\0')});
    }
  });
  ExpectRefused(
      "2 tensors that config.json does not call for: "
      "\"model.layers.0.self_attn.q_proj.bias\", \"model.layers.2.x\"");
}

TEST_F(BadCheckpointTest, ConfigThatContradictsTheWeights) {
  EditConfig("num_local_experts", 4);
  ExpectRefused("block_sparse_moe.gate.weight\" has shape [3, 32]; config.json calls for [4, 32]");
  EditConfig("num_local_experts", 3);
  EditConfig("num_hidden_layers", 1);
  ExpectRefused("tensors that config.json does not call for");
  EditConfig("num_hidden_layers", 1024);
  ExpectRefused("tensor \"model.layers.2.input_layernorm.weight\" [32]");
  EditConfig("num_hidden_layers", 2);
  EditConfig("vocab_size", 41);
  ExpectRefused("model.embed_tokens.weight\" has shape [40, 32]");
}

TEST_F(BadCheckpointTest, ImpossibleExpertCountsNameTheKey) {
  for (const int64_t experts : {0L, -8L, 1'000'000'000L}) {
    EditConfig("num_local_experts", experts);
    ExpectRefused("config.json: num_local_experts is " + std::to_string(experts));
  }
  EditConfig("num_local_experts", 3);
  EditConfig("num_experts_per_tok", 4);
  ExpectRefused("config.json: num_experts_per_tok (4) is greater than num_local_experts (3)");
  EditConfig("num_experts_per_tok", nullptr);
  ExpectRefused("config.json: num_experts_per_tok is missing");
}

TEST_F(BadCheckpointTest, CodeInTheConfig) {
  EditConfig("auto_map", {{"AutoModelForCausalLM", "modeling.Model"}});
  ExpectRefused("auto_map");
}

TEST_F(BadCheckpointTest, PickledWeightsOnly) {
  for (const char* name : {"pytorch_model.bin", "consolidated.00.pth", "model.pt"}) {
    SetUp();
    fs::rename(Weights(), folder_ + "/" + name);
    ExpectRefused("pickled weights can execute code and are never loaded");
  }
}

// Pipes that nobody writes to: whoever opens one waits for ever.
TEST_F(BadCheckpointTest, CodeBesideTheWeightsIsNeverOpened) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json", "training_args.bin",
                           "model.pkl", "modeling.py", "tokenizer.py"}) {
    ASSERT_EQ(mkfifo((folder_ + "/" + name).c_str(), 0600), 0);
  }
  const auto checkpoint = Checkpoint::Open(folder_);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
}

TEST_F(BadCheckpointTest, NoWeightsAtAll) {
  unlink(Weights().c_str());
  ExpectRefused("has neither model.safetensors nor model.safetensors.index.json");
}

TEST_F(BadCheckpointTest, SymbolicLinks) {
  const std::string elsewhere = folder_ + "_elsewhere.safetensors";
  fs::rename(Weights(), elsewhere);
  fs::create_symlink(elsewhere, Weights());
  ExpectRefused("model.safetensors is a symbolic link");
}

TEST_F(BadCheckpointTest, ShardNamesThatLeaveTheFolder) {
  for (const std::string shard : {"../b.safetensors", "/tmp/b.safetensors", "x/b.safetensors"}) {
    SetUp();
    Shard([&](nlohmann::json& map) { map["lm_head.weight"] = shard; });
    ExpectRefused(Index() + ": tensor \"lm_head.weight\": shard \"" + shard +
                  "\" is not the plain name of a file");
  }
}

TEST_F(BadCheckpointTest, SymlinkedShard) {
  Shard([](nlohmann::json&) {});
  fs::rename(folder_ + "/a.safetensors", folder_ + "/c.safetensors");
  fs::create_symlink("c.safetensors", folder_ + "/a.safetensors");
  ExpectRefused("a.safetensors is a symbolic link");
}

TEST_F(BadCheckpointTest, PickledShard) {
  Shard([](nlohmann::json& map) { map["lm_head.weight"] = "b.bin"; });
  ExpectRefused("is not a .safetensors file");
}

TEST_F(BadCheckpointTest, IndexAndShardsMustAgree) {
  Shard([](nlohmann::json& map) { map["lm_head.weight"] = "absent.safetensors"; });
  ExpectRefused("absent.safetensors");
  SetUp();
  Shard([](nlohmann::json& map) { map["model.norm.weight"] = "a.safetensors"; });
  ExpectRefused("places tensor \"model.norm.weight\" in a.safetensors, which does not have it");
  SetUp();
  Shard([](nlohmann::json& map) { map.erase("model.norm.weight"); });
  ExpectRefused("holds tensor \"model.norm.weight\", which");
}

}  // namespace
}  // namespace switchyard::model
