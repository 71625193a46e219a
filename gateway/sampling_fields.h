#pragma once

// The fields that completions and chat completions share.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/field_reader.h"
#include "gateway/logit_fields.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::gateway {

// For fields that a request leaves out: generation_config.json's, else these.
struct SamplingDefaults {
  float temperature = 1;
  float top_p = 1;
  int32_t top_k = 0;
  float min_p = 0;
  float repetition_penalty = 1;
};

// What the server is, as far as it decides whether a request is valid.
struct ServerLimits {
  std::string model;       // the name that `model` must have, if it is given
  int32_t vocabulary = 0;  // token ids are below
  SamplingDefaults defaults;
  const tokenizer::Tokenizer* tokenizer = nullptr;  // null: token ids only
};

struct SamplingFields {
  float temperature = 1;
  float top_p = 1;
  int32_t top_k = 0;  // 0: off
  float min_p = 0;    // 0: off
  LogitFields logits;
  std::optional<int64_t> seed;  // none: a random one
  int n = 1;
  std::optional<uint32_t> max_tokens;  // none: what the endpoint's default is
  uint32_t min_tokens = 0;
  std::vector<std::string> stop;
  bool include_stop = false;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool skip_special = true;
  int prompt_logprobs = -1;  // -1: none; else alternatives per token
  bool stream = false;
  bool include_usage = false;  // in a stream, as its last chunk
  bool return_token_ids = false;
  std::optional<uint32_t> truncate_prompt_tokens;  // keeps the last so many
  std::string request_id;                          // empty: the header's or a new one
};

inline constexpr int kMaxChoices = 128;
inline constexpr int kMaxLogprobs = 20;

// Letters, digits, - _ . : and at most 128 of them: safe in headers, logs and ids.
bool IsPlainId(std::string_view id);

// Reads them all, except the token limit, whose name depends on the endpoint.
SamplingFields ReadSamplingFields(FieldReader& reader, const ServerLimits& limits);

// Tokens that one request may ask for; the model's own limit is checked against the prompt later.
std::optional<uint32_t> ReadTokenLimit(FieldReader& reader, const std::string& name);

}  // namespace switchyard::gateway
