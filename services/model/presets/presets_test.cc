#include "services/model/presets/presets.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "services/model/config_json.h"

namespace switchyard::model {
namespace {

TEST(PresetsTest, EveryOneIsAConfigThatTheParserTakes) {
  const std::vector<std::string> names = PresetNames();
  ASSERT_FALSE(names.empty());
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const std::string& name : names) {
    const auto spec = ParseConfig(std::string(FindPreset(name)), name);
    EXPECT_TRUE(spec.ok()) << spec.status();
  }
}

TEST(PresetsTest, AnUnknownNameIsEmpty) { EXPECT_EQ(FindPreset("mixtral"), ""); }

}  // namespace
}  // namespace switchyard::model
