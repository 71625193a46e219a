#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "gateway/api_error.h"

namespace switchyard::gateway {

using Json =
    nlohmann::ordered_json;  // templates see the keys of a message in the order they came in

// Why a text is no JSON, or too deep, or holds too many values or keys; nothing of it is kept.
std::optional<ApiError> CheckJsonLimits(const std::string& text);

// Parses a request's body, which must be a JSON object in valid UTF-8. Depth and numbers of values
// and keys are bounded. The error tells near which field the body is wrong, never what stands
// there.
std::optional<ApiError> ParseJsonBody(const std::string& body, Json* json);

}  // namespace switchyard::gateway
