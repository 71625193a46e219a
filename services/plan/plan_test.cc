#include "services/plan/plan.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "services/model/config_json.h"
#include "services/model/presets/presets.h"

namespace switchyard::plan {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

Plan Make(const std::string& preset, PlanInput input) {
  input.name = preset;
  auto spec = model::ParseConfig(std::string(model::FindPreset(preset)), preset);
  EXPECT_TRUE(spec.ok()) << spec.status();
  input.spec = *std::move(spec);
  auto plan = MakePlan(input);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

TEST(PlanTest, DeepseekV3) {
  const Plan plan = Make("deepseek-v3", {.hosts = std::vector<int64_t>(16, 96 * kGiB)});
  EXPECT_EQ(plan.name_disagreement, "");
  // The latent and the rope key in bf16, 61 layers.
  EXPECT_EQ(plan.router.kv_per_token, 61 * (512 + 64) * 2);
  // 58 MoE layers, 8 experts a token, 7168 wide: eight rows there, eight back.
  EXPECT_EQ(plan.traffic.per_token(), 58 * (8 * 7168 * 2 + 8 * 12 + 8 * 7168 * 2));
  // Those of the prediction block are held too.
  EXPECT_EQ(plan.demand.items(), 59 * 256);
  EXPECT_EQ(plan.demand.expert_bytes, 3 * 7168 * 2048 * 2);
  ASSERT_TRUE(plan.layout.has_value());
  EXPECT_TRUE(plan.layout->fits());
  int64_t experts = 0;
  for (const HostShare& host : plan.layout->hosts) {
    EXPECT_LE(host.used, host.memory);
    experts += host.experts;
  }
  EXPECT_EQ(experts, 59 * 256);
  ASSERT_EQ(plan.kinds.size(), 1U);
  EXPECT_EQ(plan.kinds[0].fewest, 13);
}

TEST(PlanTest, FewerHostsThanExpertsOfATokenNeedFewerRows) {
  const Traffic traffic =
      Make("mixtral-8x7b", {.hosts = std::vector<int64_t>(1, 200 * kGiB)}).traffic;
  EXPECT_EQ(traffic.dispatch, 4096 * 2 + 2 * 12);
  EXPECT_EQ(traffic.combine, 2 * 4096 * 2);
}

TEST(PlanTest, ClassContextAndStreamsCount) {
  const Plan plan = Make("mixtral-8x7b",
                         {.numerics = kernels::NumericsClass::kFp32, .context = 17, .streams = 3});
  EXPECT_EQ(plan.router.kv_per_token, 32 * 2 * 8 * 128 * 4);
  EXPECT_EQ(plan.router.kv, 3 * 32 * plan.router.kv_per_token);  // 17 positions are two pages
  EXPECT_FALSE(plan.layout.has_value());
}

TEST(PlanTest, ACacheThatNoMemoryHolds) {
  PlanInput input = {.context = int64_t{1} << 31, .streams = 1 << 20};
  input.spec = *model::ParseConfig(std::string(model::FindPreset("mixtral-8x7b")), "mixtral");
  const auto plan = MakePlan(input);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("fewer streams"), std::string::npos) << plan.status();
}

TEST(PlanTest, ANameThatItsArithmeticDenies) {
  const Plan plan = Make("gpt-moe-175b", {.hosts = {80 * kGiB}});
  EXPECT_NE(plan.name_disagreement.find("the name says 175B"), std::string::npos);
  EXPECT_FALSE(plan.layout->fits());
  EXPECT_EQ(plan.layout->missing, 64 * 128 - plan.layout->hosts[0].capacity);
  EXPECT_FALSE(plan.kinds[0].router_fits);
}

// Both stacks of an encoder-decoder have experts; a generated token passes the decoder's.
TEST(PlanTest, EncoderDecoder) {
  const Plan plan = Make("switch-base-8", {});
  EXPECT_EQ(plan.demand.layers, 12);
  EXPECT_EQ(plan.traffic.moe_layers, 6);
}

}  // namespace
}  // namespace switchyard::plan
