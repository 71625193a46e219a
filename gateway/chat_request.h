#pragma once

// POST /v1/chat/completions: JSON to a checked struct.

#include <optional>
#include <string>
#include <vector>

#include "gateway/sampling_fields.h"

namespace switchyard::gateway {

struct ChatMessages {
  Json messages;  // content is a string or missing; parts of type text are joined
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  Json documents;           // array, or null: none
  Json template_variables;  // object: chat_template_kwargs
};

struct ChatRequest {
  SamplingFields sampling;
  ChatMessages chat;
  int logprobs = -1;  // -1: none; else alternatives per token
  std::vector<std::string> unknown_fields;
};

// Pure.
std::optional<ApiError> ParseChatRequest(const Json& json, const ServerLimits& limits,
                                         ChatRequest* request);

// The fields about messages alone; /tokenize has them too.
ChatMessages ReadChatMessages(FieldReader& reader);

}  // namespace switchyard::gateway
