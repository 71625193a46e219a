#pragma once

// The small files of a checkpoint that text handling needs.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer {

// The bytes of folder/name. NOT_FOUND when there is no such file, INVALID_ARGUMENT when it is
// larger than any real one. Messages carry the name only, never the folder.
absl::StatusOr<std::string> ReadModelFile(const std::string& folder, std::string_view name);

// folder/tokenizer_config.json, a JSON object.
absl::StatusOr<nlohmann::json> ReadTokenizerConfig(const std::string& folder);

// A special token, given as text or as an object with `content`; empty when missing or null.
std::string SpecialTokenText(const nlohmann::json& config, const char* key);

}  // namespace switchyard::tokenizer
