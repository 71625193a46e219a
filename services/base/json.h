#pragma once

// JSON from outside: parsed with bounds on size, depth and number of values, so that memory and
// time are bounded by what the caller allows, and with duplicate keys refused.

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace switchyard {

struct JsonLimits {
  size_t bytes = 1 << 20;
  size_t depth = 32;          // nested objects and arrays
  size_t values = 1'000'000;  // each takes some 50 bytes of memory
};

// `name` is what errors call the text, for example the file's path.
absl::StatusOr<nlohmann::json> ParseJson(const std::string& text, const JsonLimits& limits,
                                         const std::string& name);

// The reason alone out of nlohmann's message, without its tag for programmers.
std::string JsonErrorText(const nlohmann::json::exception& error);

}  // namespace switchyard
