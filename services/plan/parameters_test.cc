#include "services/plan/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/config_json.h"
#include "services/model/presets/presets.h"

namespace switchyard::plan {
namespace {

ModelParameters Count(const std::string& config, const std::string& name) {
  const auto spec = model::ParseConfig(config, name);
  EXPECT_TRUE(spec.ok()) << spec.status();
  auto count = CountParameters(*spec);
  EXPECT_TRUE(count.ok()) << count.status();
  return *std::move(count);
}

ModelParameters Preset(const std::string& name) {
  return Count(std::string(model::FindPreset(name)), name);
}

struct Published {
  const char* name;
  double total, active;  // thousand millions; 0: not published
  // Whether the active number has the input embedding in it.
  bool embedding = true;
};

// Papers and model cards round these numbers, or cut them after the last digit that they give.
void ExpectPublished(int64_t counted, double published, const char* name) {
  const bool fraction = published != std::floor(published);
  const double digit = fraction ? 0.1 : published >= 1000 ? 100 : 1;
  EXPECT_GE(static_cast<double>(counted) / 1e9, published - digit / 2) << name;
  EXPECT_LT(static_cast<double>(counted) / 1e9, published + digit) << name;
}

TEST(ParametersTest, PublishedNumbers) {
  const Published models[] = {{"mixtral-8x7b", 46.7, 12.9},
                              {"mixtral-8x22b", 141, 39},
                              {"deepseek-v3", 671, 37, false},
                              {"deepseek-v2", 236, 21},
                              {"deepseek-v2-lite", 15.7, 2.4, false},
                              {"glam-64b-64e", 1200, 96.6},
                              {"switch-c", 1600, 0},
                              {"fine-6.9b", 6.9, 1.8},
                              {"olmoe-1b-7b", 6.9, 1.3},
                              {"qwen2-57b-a14b", 57.4, 14.2},
                              {"qwen3-30b-a3b", 30.5, 3.3},
                              {"qwen3-235b-a22b", 235, 22},
                              {"gpt-oss-20b", 20.9, 3.6, false},
                              {"gpt-oss-120b", 116.8, 5.1, false},
                              {"phi-3.5-moe", 41.9, 6.6}};
  for (const Published& model : models) {
    const ModelParameters count = Preset(model.name);
    ExpectPublished(count.total(), model.total, model.name);
    if (model.active == 0) continue;
    ExpectPublished(model.embedding ? count.active() : count.active_without_embedding(),
                    model.active, model.name);
  }
}

// Its report counts the prediction block, and neither embedding nor head.
TEST(ParametersTest, Glm45) {
  const ModelParameters count = Preset("glm-4.5");
  const int64_t ends = count.embedding + count.head;
  ExpectPublished(count.stored() - count.mtp->copies - ends, 355, "total");
  ExpectPublished(count.active() - ends, 32, "active");
}

TEST(ParametersTest, ExpertsOfALayer) {
  const LayerParameters fine = Preset("fine-6.9b").layers.front();
  EXPECT_EQ(fine.experts * fine.expert, 768 * 6144 * 3 * 16);
  const ModelParameters gpt = Preset("gpt-moe-175b");
  const int64_t biases = 64 * 128 * (49152 + 12288);
  EXPECT_EQ(gpt.routed_experts(), int64_t{64} * 128 * 2 * 12288 * 49152 + biases);
}

TEST(ParametersTest, TheMtpBlockIsOutsideTheTotal) {
  const ModelParameters count = Preset("deepseek-v3");
  ASSERT_TRUE(count.mtp.has_value());
  EXPECT_EQ(count.mtp->copies, 2 * int64_t{129280} * 7168);
  EXPECT_EQ(count.stored() - count.total(), count.mtp->total());
}

TEST(ParametersTest, SizesThatNoModelHas) {
  nlohmann::json config = nlohmann::json::parse(model::FindPreset("mixtral-8x7b"));
  config["hidden_size"] = config["intermediate_size"] = 1 << 20;
  config["head_dim"] = 128;
  config["num_local_experts"] = 4096;
  config["num_hidden_layers"] = 1024;
  const auto spec = model::ParseConfig(config.dump(), "config.json");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(CountParameters(*spec).status().code(), absl::StatusCode::kInvalidArgument);
}

// Elements that the headers of a folder's checkpoint declare.
int64_t DeclaredElements(const std::filesystem::path& folder) {
  int64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with("model") || !file.ends_with(".safetensors")) continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    uint64_t length = 0;
    stream.read(reinterpret_cast<char*>(&length), sizeof(length));
    std::string header(length, '\0');
    stream.read(header.data(), static_cast<std::streamsize>(length));
    const nlohmann::json table = nlohmann::json::parse(header);
    for (const auto& [name, tensor] : table.items()) {
      // Scales of quantised tensors are no parameters; a byte of blocks holds two of them.
      if (name == "__metadata__" || name.ends_with("_scale_inv") || name.ends_with("_scales")) {
        continue;
      }
      int64_t elements = name.ends_with("_blocks") ? 2 : 1;
      for (const int64_t size : tensor["shape"]) elements *= size;
      sum += elements;
    }
  }
  return sum;
}

class FixtureParametersTest : public ::testing::TestWithParam<const char*> {};

TEST_P(FixtureParametersTest, EqualTheElementsOfTheTensors) {
  SWITCHYARD_FIXTURE_OR_SKIP(folder, std::string(GetParam()));
  const auto config = ReadWholeFile(folder + "/config.json", 1 << 20);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(Count(*config, folder).stored(), DeclaredElements(folder));
}

INSTANTIATE_TEST_SUITE_P(
    AllCheckpoints, FixtureParametersTest,
    ::testing::Values("models/deepseek_v2", "models/deepseek_v2_lite", "models/deepseek_v3",
                      "models/deepseek_v3_fp8", "models/deepseek_v3_mtp",
                      "models/deepseek_v3_noqlora", "models/glm4_moe", "models/gpt_oss",
                      "models/gpt_oss_mxfp4", "models/llama", "models/mixtral",
                      "models/mixtral_bf16", "models/mixtral_fine", "models/mixtral_sharded",
                      "models/mixtral_swa", "models/olmoe", "models/phimoe", "models/qwen2_moe",
                      "models/qwen3_moe", "models/switch", "models/switch_drop",
                      "own_models/deepseek_v3_fp8", "own_models/deepseek_v3_mtp",
                      "own_models/glam_drops", "own_models/glam_no_drops",
                      "own_models/gpt_moe_learned", "own_models/gpt_moe_sinusoidal"),
    [](const auto& info) {
      std::string name = info.param;
      name[name.find('/')] = '_';
      return name;
    });

}  // namespace
}  // namespace switchyard::plan
