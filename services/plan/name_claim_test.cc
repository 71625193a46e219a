#include "services/plan/name_claim.h"

#include <gtest/gtest.h>

namespace switchyard::plan {
namespace {

constexpr int64_t kBillion = 1'000'000'000;

TEST(NameClaimTest, NamesThatAgreeOrSayNothing) {
  EXPECT_EQ(NameDisagreement("olmoe-1b-7b", 69 * kBillion / 10), "");
  EXPECT_EQ(NameDisagreement("Qwen3-30B-A3B", 305 * kBillion / 10), "");
  EXPECT_EQ(NameDisagreement("fine-6.9b", 69 * kBillion / 10), "");
  for (const char* name : {"deepseek-v3", "switch-base-8", "b", "-", "", "xb", "1e999b"}) {
    EXPECT_EQ(NameDisagreement(name, kBillion), "") << name;
  }
}

TEST(NameClaimTest, NamesThatDisagree) {
  EXPECT_EQ(NameDisagreement("gpt-moe-175b", 9900 * kBillion),
            "the name says 175B, but the tensors of this config hold 9.90T parameters");
  EXPECT_EQ(NameDisagreement("mixtral-8x7b", 467 * kBillion / 10),
            "the name says 8X7B = 56.0B, but the tensors of this config hold 46.7B parameters");
}

TEST(NameClaimTest, HumanCounts) {
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(226'492'416), "226.5M");
  EXPECT_EQ(HumanCount(6'940'000'000), "6.94B");
  EXPECT_EQ(HumanCount(999'960'000'000), "1.00T");
}

}  // namespace
}  // namespace switchyard::plan
