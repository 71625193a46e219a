#include "services/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/config_json.h"

namespace switchyard::model {
namespace {

using nlohmann::json;

json Fixture(const std::string& path) { return json::parse(*ReadWholeFile(path, 10 << 20)); }

// A Llama config with the fixture's rope keys in the spelling of release 4 or 5.
RopeSpec SpecOf(const json& fixture, const char* spelling) {
  json config = fixture[spelling];
  config["model_type"] = "llama";
  config["hidden_size"] = fixture["head_dim"];
  config["num_attention_heads"] = 1;
  config["num_hidden_layers"] = 1;
  config["intermediate_size"] = 8;
  config["vocab_size"] = 8;
  config["max_position_embeddings"] = fixture["max_position_embeddings"];
  absl::StatusOr<ModelSpec> spec = ParseConfig(config.dump(), "config.json");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? spec->rope : RopeSpec();
}

// Equal to one unit in the last place: transformers' fp32 power is not correctly rounded.
void ExpectFrequencies(const RopeSpec& rope, const json& expected) {
  const auto table = RopeFrequencies(rope);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->attention_factor, 1.0f);
  ASSERT_EQ(table->inverse_frequency.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(table->inverse_frequency[i], expected[i].get<float>(),
                expected[i].get<float>() * 1.2e-7f)
        << i;
  }
}

TEST(RopeFrequenciesTest, EqualTransformersInBothSpellings) {
  for (const char* name : {"default", "default_theta_1e6", "linear", "llama3"}) {
    SWITCHYARD_FIXTURE_OR_SKIP(path, std::string("rope/") + name + ".json");
    const json fixture = Fixture(path);
    for (const char* spelling : {"config_v4", "config_v5"}) {
      ExpectFrequencies(SpecOf(fixture, spelling), fixture["inv_freq_fp32"]);
    }
  }
}

// NTK-aware scaling is a change of the base, and partial rotation a smaller dimension.
TEST(RopeFrequenciesTest, NtkBaseAndPartialRotation) {
  for (const char* name : {"ntk_alpha", "ntk_alpha8"}) {
    SWITCHYARD_FIXTURE_OR_SKIP(path, std::string("rope/") + name + ".json");
    const json fixture = Fixture(path);
    ExpectFrequencies({.theta = fixture["new_base"], .rotary_dim = fixture["rotary_dim"]},
                      fixture["inv_freq_fp32"]);
  }
  SWITCHYARD_FIXTURE_OR_SKIP(path, "rope/partial_half.json");
  const json fixture = Fixture(path);
  ExpectFrequencies({.theta = fixture["rope_theta"], .rotary_dim = fixture["rotary_dim"]},
                    fixture["inv_freq_fp32"]);
}

TEST(RopeFrequenciesTest, OtherKindsAreAnError) {
  for (const RopeKind kind : {RopeKind::kDynamic, RopeKind::kYarn, RopeKind::kLongrope}) {
    EXPECT_EQ(RopeFrequencies({.kind = kind, .rotary_dim = 8}).status().code(),
              absl::StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace switchyard::model
