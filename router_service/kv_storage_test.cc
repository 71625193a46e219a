// What is allocated for the KV cache is what `switchyard plan` says, to the byte.

#include "router_service/kv_storage.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/config_json.h"
#include "services/plan/memory.h"

namespace switchyard::router {
namespace {

using kernels::NumericsClass;

constexpr int64_t kPages = 3;
constexpr int64_t kPositions = kPages * kernels::KvLayout::kPagePositions;

class KvStorageTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = std::string(GetParam()) + "/config.json";
    SWITCHYARD_FIXTURE_OR_SKIP(path, name);
    auto spec = model::ParseConfig(*ReadWholeFile(path, 1 << 20), path);
    ASSERT_TRUE(spec.ok()) << spec.status();
    spec_ = *std::move(spec);
  }

  int64_t Allocated(NumericsClass numerics) const {
    const auto layers = static_cast<int64_t>(spec_.layers.size());
    return static_cast<int64_t>(KvStorage(spec_, 0, layers, numerics, kPages).bytes());
  }

  model::ModelSpec spec_;
};

TEST_P(KvStorageTest, TakesWhatThePlanSays) {
  for (const NumericsClass numerics : {NumericsClass::kFp32, NumericsClass::kBf16}) {
    EXPECT_EQ(Allocated(numerics), kPositions * plan::KvBytesPerToken(spec_, numerics));
  }
}

// The widths of the papers, counted by hand.
TEST_P(KvStorageTest, HoldsKeysAndValuesOrTheLatentAndNothingElse) {
  int64_t elements = 0;
  for (const model::LayerSpec& layer : spec_.layers) {
    const model::AttentionSpec& attention = layer.attention;
    elements += attention.kind == model::AttentionKind::kMla
                    ? attention.mla.kv_lora_rank + attention.mla.rope_dim
                    : 2 * attention.kv_heads * attention.head_dim;
  }
  EXPECT_EQ(Allocated(NumericsClass::kFp32), kPositions * elements * 4);
  EXPECT_EQ(Allocated(NumericsClass::kBf16), kPositions * elements * 2);
}

INSTANTIATE_TEST_SUITE_P(Families, KvStorageTest,
                         ::testing::Values("models/mixtral", "models/mixtral_fine",
                                           "models/deepseek_v2", "models/deepseek_v3",
                                           "models/gpt_oss", "own_models/gpt_moe_learned"),
                         [](const auto& info) {
                           const std::string path = info.param;
                           return path.substr(path.find('/') + 1);
                         });

}  // namespace
}  // namespace switchyard::router
