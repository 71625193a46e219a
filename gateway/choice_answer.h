#pragma once

// What one choice says to its client, as a chunk of a stream or as a whole.

#include <memory>
#include <string>
#include <vector>

#include "gateway/generation.h"
#include "gateway/response_json.h"

namespace switchyard::gateway {

struct AnswerOptions {
  bool chat = false;
  bool stream = false;
  bool echo = false;             // completions: the prompt stands in front
  int logprobs = -1;             // -1: none; else alternatives per token
  bool prompt_logprobs = false;  // asked for by themselves, not for echo
  bool token_ids = false;
  const tokenizer::Tokenizer* tokenizer = nullptr;
};

// Not thread-safe.
class ChoiceAnswer {
 public:
  // `prompt_ids` and `prompt_text` are what echo repeats; the ids must outlive the answer.
  ChoiceAnswer(const AnswerOptions& options, int index, const std::vector<int32_t>& prompt_ids,
               std::string prompt_text);

  void Add(GenerationDelta delta);

  // Whether a chunk would show something.
  bool HasNews() const;

  // The entry of `choices`: what was added since the last call. Without streaming it is called
  // once.
  Json Take();

  uint64_t generated() const { return generated_; }

 private:
  void Echo(const GenerationDelta& delta);
  Json TakeText();
  Json TakeLogprobs();

  const AnswerOptions options_;
  const int index_;
  const std::vector<int32_t>& prompt_ids_;
  const std::string prompt_text_;

  bool started_ = false;    // the first delta came
  bool role_sent_ = false;  // chat streams begin with it
  std::string text_;
  std::vector<int32_t> ids_;
  CompletionLogprobs completion_logprobs_;
  Json chat_logprobs_ = Json::array();
  Json prompt_logprobs_;
  Json finish_reason_;
  Json stop_reason_;
  uint64_t generated_ = 0;
};

}  // namespace switchyard::gateway
