#pragma once

// The JSON of answers. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "gateway/generation.h"
#include "gateway/json_body.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::gateway {

// JSON text; bytes that are no UTF-8 become U+FFFD.
std::string Dump(const Json& json);

// One server-sent event.
std::string SseEvent(const std::string& data);

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t cached_tokens = 0;
};
Json UsageJson(const Usage& usage);

// "stop", "length", or null.
Json FinishReasonJson(FinishReason reason);

// vLLM's extension: the stop string or stop token that ended the choice, or null.
Json StopReasonJson(const GenerationDelta& delta);

// The text of one token as clients see it: valid UTF-8; "token_id:7" where the tokenizer knows
// none.
std::string TokenText(const tokenizer::Tokenizer* tokenizer, int32_t id);

// `logprobs` of completions: parallel arrays over tokens.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(const tokenizer::Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  // Offsets count characters; they go on over calls.
  void Append(const std::vector<int32_t>& ids, const std::vector<v1::TokenLogprobs>& logprobs);

  // What was appended since the last call.
  Json Take();

 private:
  const tokenizer::Tokenizer* tokenizer_;
  size_t offset_ = 0;
  Json tokens_ = Json::array();
  Json token_logprobs_ = Json::array();
  Json top_logprobs_ = Json::array();
  Json text_offset_ = Json::array();
};

// `logprobs` of chat completions: the entries of `content`.
Json ChatLogprobs(const tokenizer::Tokenizer* tokenizer, const std::vector<int32_t>& ids,
                  const std::vector<v1::TokenLogprobs>& logprobs, int alternatives);

// vLLM's `prompt_logprobs`: null for the first token, then {id: {logprob, rank, decoded_token}}.
Json PromptLogprobs(const tokenizer::Tokenizer* tokenizer,
                    const std::vector<v1::TokenLogprobs>& logprobs);

}  // namespace switchyard::gateway
