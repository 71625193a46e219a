#include "gateway/response_json.h"

#include <algorithm>
#include <utility>

#include "services/tokenizer/utf8.h"

namespace switchyard::gateway {
namespace {

using tokenizer::Tokenizer;

// JSON has no infinity: clients of these interfaces expect this number for "impossible".
constexpr double kLeastLogprob = -9999.0;

double Finite(float logprob) { return std::max(static_cast<double>(logprob), kLeastLogprob); }

size_t CountCharacters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

Json BytesJson(const Tokenizer* tokenizer, int32_t id) {
  Json bytes = Json::array();
  if (tokenizer == nullptr) return bytes;
  for (char c : tokenizer->TokenBytes(id)) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

Json ChatEntry(const Tokenizer* tokenizer, const v1::TokenLogprob& token) {
  return {{"token", TokenText(tokenizer, token.token())},
          {"logprob", Finite(token.logprob())},
          {"bytes", BytesJson(tokenizer, token.token())}};
}

Json RankedEntry(const Tokenizer* tokenizer, const v1::TokenLogprob& token) {
  return {{"logprob", Finite(token.logprob())},
          {"rank", token.rank()},
          {"decoded_token", TokenText(tokenizer, token.token())}};
}

}  // namespace

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string SseEvent(const std::string& data) { return "data: " + data + "\n\n"; }

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json FinishReasonJson(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kNone:
      break;
  }
  return nullptr;
}

Json StopReasonJson(const GenerationDelta& delta) {
  if (!delta.stop_string.empty()) return delta.stop_string;
  if (delta.stop_token >= 0) return delta.stop_token;
  return nullptr;
}

std::string TokenText(const Tokenizer* tokenizer, int32_t id) {
  if (tokenizer == nullptr || !tokenizer->HasToken(id)) {
    return "token_id:" + std::to_string(id);
  }
  std::string text;
  tokenizer::AppendValidUtf8(tokenizer->TokenBytes(id), &text);
  return text;
}

void CompletionLogprobs::Append(const std::vector<int32_t>& ids,
                                const std::vector<v1::TokenLogprobs>& logprobs) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string text = TokenText(tokenizer_, ids[i]);
    tokens_.push_back(text);
    text_offset_.push_back(offset_);
    offset_ += CountCharacters(text);
    if (i >= logprobs.size() || !logprobs[i].has_chosen()) {  // the first token of a prompt
      token_logprobs_.push_back(nullptr);
      top_logprobs_.push_back(nullptr);
      continue;
    }
    token_logprobs_.push_back(Finite(logprobs[i].chosen().logprob()));
    // Tokens with the same text share a key: the best one stands.
    Json top = Json::object();
    for (const v1::TokenLogprob& token : logprobs[i].top()) {
      top.emplace(TokenText(tokenizer_, token.token()), Finite(token.logprob()));
    }
    top.emplace(text, Finite(logprobs[i].chosen().logprob()));
    top_logprobs_.push_back(std::move(top));
  }
}

Json CompletionLogprobs::Take() {
  return {{"tokens", std::exchange(tokens_, Json::array())},
          {"token_logprobs", std::exchange(token_logprobs_, Json::array())},
          {"top_logprobs", std::exchange(top_logprobs_, Json::array())},
          {"text_offset", std::exchange(text_offset_, Json::array())}};
}

Json ChatLogprobs(const Tokenizer* tokenizer, const std::vector<int32_t>& ids,
                  const std::vector<v1::TokenLogprobs>& logprobs, int alternatives) {
  Json content = Json::array();
  for (size_t i = 0; i < std::min(ids.size(), logprobs.size()); ++i) {
    Json entry = ChatEntry(tokenizer, logprobs[i].chosen());
    Json top = Json::array();
    for (int k = 0; k < std::min(alternatives, logprobs[i].top_size()); ++k) {
      top.push_back(ChatEntry(tokenizer, logprobs[i].top(k)));
    }
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return content;
}

Json PromptLogprobs(const Tokenizer* tokenizer, const std::vector<v1::TokenLogprobs>& logprobs) {
  Json positions = Json::array();
  for (const v1::TokenLogprobs& position : logprobs) {
    if (!position.has_chosen()) {
      positions.push_back(nullptr);
      continue;
    }
    Json tokens = Json::object();
    tokens[std::to_string(position.chosen().token())] = RankedEntry(tokenizer, position.chosen());
    for (const v1::TokenLogprob& token : position.top()) {
      tokens[std::to_string(token.token())] = RankedEntry(tokenizer, token);
    }
    positions.push_back(std::move(tokens));
  }
  return positions;
}

}  // namespace switchyard::gateway
