#include "services/model/index_json.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace switchyard::model {
namespace {

std::string Index(const std::string& shard) {
  return absl::StrCat(R"({"metadata": {"total_size": 1}, "weight_map": {"w": ")", shard, "\"}}");
}

TEST(IndexJsonTest, ReadsTheWeightMap) {
  const auto weights = ParseIndex(
      R"({"weight_map": {"b": "model-2.safetensors", "a": "model-1.safetensors"}})", "i.json");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(*weights, (WeightMap{{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}}));
}

TEST(IndexJsonTest, RefusesShardsThatAreNoPlainSafetensorsFile) {
  for (const char* shard :
       {"../model.safetensors", "/etc/model.safetensors", "a/model.safetensors", "..",
        ".model.safetensors", "", "..\\\\model.safetensors", "model.safetensors\\u0000",
        "pytorch_model.bin", "model.pt", "model.safetensors.bin"}) {
    const auto weights = ParseIndex(Index(shard), "folder/i.json");
    ASSERT_FALSE(weights.ok()) << shard;
    EXPECT_NE(weights.status().message().find("folder/i.json: tensor \"w\": shard"),
              std::string::npos)
        << weights.status();
  }
}

TEST(IndexJsonTest, RefusesMalformedIndexes) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})",
                           R"({"weight_map": {"w": 1}})", R"({"weight_map": {"w": {"a": 1}}})",
                           R"({"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}})"}) {
    EXPECT_FALSE(ParseIndex(text, "i.json").ok()) << text;
  }
  EXPECT_FALSE(ParseIndex("{\"weight_map\": " + std::string(100'000, '['), "i.json").ok());
}

TEST(IndexJsonTest, BoundsTheNumberOfShards) {
  std::string text = "{\"weight_map\": {";
  for (size_t i = 0; i <= kMaxShards; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ",", "\"w", i, "\": \"", i, ".safetensors\"");
  }
  EXPECT_FALSE(ParseIndex(text + "}}", "i.json").ok());
}

}  // namespace
}  // namespace switchyard::model
