#include "services/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bazel/fixtures/fixtures.h"
#include "services/base/file.h"
#include "services/model/config_json.h"

namespace switchyard::model {
namespace {

using nlohmann::json;

json Fixture(const std::string& path) { return json::parse(*ReadWholeFile(path, 10 << 20)); }

// A config with the fixture's rope keys in the spelling of release 4 or 5. GLM is a family with
// partial rotation.
RopeSpec SpecOf(const json& fixture, const char* spelling) {
  json config = fixture[spelling];
  config["model_type"] = "glm4_moe";
  config["hidden_size"] = config["head_dim"] = fixture["head_dim"];
  for (const char* key : {"num_attention_heads", "num_key_value_heads", "num_hidden_layers",
                          "n_routed_experts", "num_experts_per_tok"}) {
    config[key] = 1;
  }
  for (const char* key : {"intermediate_size", "moe_intermediate_size", "vocab_size"}) {
    config[key] = 8;
  }
  config["max_position_embeddings"] = fixture["max_position_embeddings"];
  if (fixture["rotary_dim"] == fixture["head_dim"]) config["partial_rotary_factor"] = 1.0;
  absl::StatusOr<ModelSpec> spec = ParseConfig(config.dump(), "config.json");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? spec->rope : RopeSpec();
}

// One unit in the last place: transformers' fp32 power is not correctly rounded.
constexpr float kUlp = 1.2e-7f;

void ExpectFrequencies(const kernels::RopeTable& table, const json& fixture) {
  const json& expected = fixture["inv_freq_fp32"];
  EXPECT_EQ(table.attention_factor, fixture["attention_factor"].get<float>());
  ASSERT_EQ(table.inverse_frequency.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const float frequency = expected[i].get<float>();
    EXPECT_NEAR(table.inverse_frequency[i], frequency, frequency * 2 * kUlp) << i;
  }
}

// cos and sin of fp32(position) * frequency at every position. An angle's own rounding grows with
// it, so a frequency that is one unit off moves it by position * frequency * unit.
void ExpectAngles(const kernels::RopeTable& table, const json& fixture) {
  const json& positions = fixture["positions"];
  const auto factor = static_cast<double>(table.attention_factor);
  for (size_t row = 0; row < positions.size(); ++row) {
    const float position = positions[row].get<float>();
    for (size_t i = 0; i < table.inverse_frequency.size(); ++i) {
      const float angle = position * table.inverse_frequency[i];
      const bool exact = table.inverse_frequency[i] == fixture["inv_freq_fp32"][i].get<float>();
      const double tolerance = factor * (3e-7 + (exact ? 0.0 : 3.0 * angle * kUlp));
      EXPECT_NEAR(std::cos(static_cast<double>(angle)) * factor,
                  fixture["cos_fp32"][row][i].get<double>(), tolerance)
          << position << ", " << i;
      EXPECT_NEAR(std::sin(static_cast<double>(angle)) * factor,
                  fixture["sin_fp32"][row][i].get<double>(), tolerance)
          << position << ", " << i;
    }
  }
}

void ExpectGolden(const RopeSpec& rope, const json& fixture) {
  EXPECT_EQ(rope.rotary_dim, fixture["rotary_dim"].get<int64_t>());
  const int64_t length = fixture["seq_len"].is_null() ? 0 : fixture["seq_len"].get<int64_t>();
  const auto table = RopeFrequencies(rope, length);
  ASSERT_TRUE(table.ok()) << table.status();
  ExpectFrequencies(*table, fixture);
  ExpectAngles(*table, fixture);
}

TEST(RopeFrequenciesTest, EqualTransformersInBothSpellings) {
  SWITCHYARD_FIXTURE_OR_SKIP(first, "rope/default.json");
  int cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(first).parent_path())) {
    if (entry.path().extension() != ".json") continue;
    const json fixture = Fixture(entry.path().string());
    SCOPED_TRACE(entry.path().filename().string());
    ++cases;
    ExpectGolden(SpecOf(fixture, "config_v5"), fixture);
    // transformers has no ntk type, and release 4 no spelling of it.
    if (fixture["rope_type"] != "ntk") ExpectGolden(SpecOf(fixture, "config_v4"), fixture);
  }
  EXPECT_GE(cases, 28);
}

TEST(RopeFrequenciesTest, NtkIsAChangeOfTheBase) {
  const RopeSpec ntk = {.kind = RopeKind::kNtk, .rotary_dim = 16, .alpha = 2};
  const RopeSpec changed = {.theta = 22081.790273476247, .rotary_dim = 16};
  EXPECT_EQ(RopeFrequencies(ntk)->inverse_frequency, RopeFrequencies(changed)->inverse_frequency);
}

TEST(RopeFrequenciesTest, PhiHasAFactorForEachRegime) {
  const RopeSpec rope = {.kind = RopeKind::kLongrope,
                         .original_max_positions = 64,
                         .rotary_dim = 4,
                         .attention_factor = 9.0,
                         .short_factor = {1, 1},
                         .long_factor = {2, 4},
                         .short_mscale = 1.25,
                         .long_mscale = 1.5};
  EXPECT_TRUE(RopeDependsOnLength(rope));
  EXPECT_EQ(RopeFrequencies(rope, 64)->attention_factor, 1.25f);
  EXPECT_EQ(RopeFrequencies(rope, 64)->inverse_frequency[0], 1.0f);
  EXPECT_EQ(RopeFrequencies(rope, 65)->attention_factor, 1.5f);
  EXPECT_EQ(RopeFrequencies(rope, 65)->inverse_frequency[0], 0.5f);
}

TEST(RopeFrequenciesTest, FactorsThatDoNotFitAreAnError) {
  const RopeSpec rope = {
      .kind = RopeKind::kLongrope, .rotary_dim = 8, .short_factor = {1}, .long_factor = {1}};
  EXPECT_EQ(RopeFrequencies(rope).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard::model
