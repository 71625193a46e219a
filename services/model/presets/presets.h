#pragma once

// Known models as their config.json, one file each in this folder, compiled into the program. A
// preset is nothing but a config: ParseConfig (services/model/config_json.h) reads it as it reads
// a checkpoint's.

#include <string>
#include <string_view>
#include <vector>

namespace switchyard::model {

// The text of the preset's config.json; empty when there is no such preset.
std::string_view FindPreset(std::string_view name);

std::vector<std::string> PresetNames();  // ascending

}  // namespace switchyard::model
