#include "services/model/generation_config.h"

#include <gtest/gtest.h>

#include <utility>

namespace switchyard::model {
namespace {

TEST(GenerationConfigTest, ReadsTokensAndSampling) {
  const auto config = ParseGenerationConfig(
      R"({"bos_token_id": 1, "eos_token_id": 2, "temperature": 0.5, "top_p": 0.25, "top_k": 40,
          "repetition_penalty": 1.5, "transformers_version": "5"})",
      "g.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->bos_token, 1);
  EXPECT_EQ(config->eos_tokens, std::vector<int64_t>{2});
  EXPECT_EQ(config->temperature, 0.5f);
  EXPECT_EQ(config->top_p, 0.25f);
  EXPECT_EQ(config->top_k, 40);
  EXPECT_EQ(config->repetition_penalty, 1.5f);
  EXPECT_FALSE(config->min_p.has_value());
}

TEST(GenerationConfigTest, NullIsAbsent) {
  const auto config =
      ParseGenerationConfig(R"({"temperature": null, "eos_token_id": null})", "g.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->temperature.has_value());
  EXPECT_FALSE(config->eos_tokens.has_value());
}

TEST(GenerationConfigTest, RefusesBadValuesNamingTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"temperature": -1})", "g.json: temperature is -1"},
      {R"({"temperature": "hot"})", "g.json: temperature is \"hot\""},
      {R"({"top_p": 2})", "g.json: top_p is 2"},
      {R"({"top_k": -1})", "g.json: top_k is -1"},
      {R"({"top_k": 1e300})", "g.json: top_k is 1e+300"},
      {R"({"eos_token_id": 128})", "g.json: eos_token_id is 128"},
      {R"({"top_p": 0})", "g.json: top_p is 0"},
      {R"({"min_p": 2})", "g.json: min_p is 2"},
      {R"({"repetition_penalty": 9e-6})", "g.json: repetition_penalty is 9e-06"},
      {R"({"bos_token_id": [1]})", "g.json: bos_token_id is a list"},
      {"[]", "g.json: must be a JSON object"}};
  for (const auto& [text, error] : cases) {
    const absl::Status status = ParseGenerationConfig(text, "g.json", 128).status();
    EXPECT_NE(status.message().find(error), std::string::npos) << status << "\nwanted " << error;
  }
}

}  // namespace
}  // namespace switchyard::model
