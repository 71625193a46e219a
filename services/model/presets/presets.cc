#include "services/model/presets/presets.h"

#include <algorithm>

namespace switchyard::model {
namespace {

struct Preset {
  std::string_view name;
  std::string_view config;
};

constexpr Preset kPresets[] = {
#include "services/model/presets/configs.inc"
};

}  // namespace

std::string_view FindPreset(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset.config;
  }
  return {};
}

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace switchyard::model
