#pragma once

// The fields by which a request changes the model's logits: penalties, bias, allowed and forbidden
// tokens. Semantics are OpenAI's, and vLLM's for what OpenAI does not have.

#include <cstdint>
#include <utility>
#include <vector>

#include "gateway/field_reader.h"
#include "proto/router_worker.pb.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::gateway {

// Defaults change nothing.
struct LogitFields {
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> bias;  // token id, what is added
  std::vector<int32_t> allowed_token_ids;       // empty: all
  std::vector<std::vector<int32_t>> bad_words;  // token sequences
};

// `repetition_penalty`: where the request has none. Without a tokenizer (null) bad_words, which are
// text, are refused.
LogitFields ReadLogitFields(FieldReader& reader, int32_t vocabulary,
                            const tokenizer::Tokenizer* tokenizer, float repetition_penalty);

void SetLogitFields(const LogitFields& fields, v1::Sampling* sampling);

}  // namespace switchyard::gateway
