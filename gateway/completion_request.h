#pragma once

// POST /v1/completions: JSON to a checked struct.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "gateway/sampling_fields.h"

namespace switchyard::gateway {

using Prompt = std::variant<std::string, std::vector<int32_t>>;  // text or token ids

struct CompletionRequest {
  SamplingFields sampling;  // max_tokens is set
  std::vector<Prompt> prompts;
  bool echo = false;
  int logprobs = -1;  // -1: none; else alternatives per token
  bool add_special_tokens = true;
  std::vector<std::string> unknown_fields;
};

// Pure. Most choices of one request (prompts times n): kMaxRequestChoices.
std::optional<ApiError> ParseCompletionRequest(const Json& json, const ServerLimits& limits,
                                               CompletionRequest* request);

inline constexpr size_t kMaxRequestChoices = 1024;

}  // namespace switchyard::gateway
