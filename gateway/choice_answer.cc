#include "gateway/choice_answer.h"

#include <utility>

namespace switchyard::gateway {

ChoiceAnswer::ChoiceAnswer(const AnswerOptions& options, int index,
                           const std::vector<int32_t>& prompt_ids, std::string prompt_text)
    : options_(options),
      index_(index),
      prompt_ids_(prompt_ids),
      prompt_text_(std::move(prompt_text)),
      completion_logprobs_(options.tokenizer) {}

void ChoiceAnswer::Echo(const GenerationDelta& delta) {
  text_ = prompt_text_;
  if (options_.logprobs >= 0) completion_logprobs_.Append(prompt_ids_, delta.prompt_logprobs);
}

void ChoiceAnswer::Add(GenerationDelta delta) {
  if (!std::exchange(started_, true) && options_.echo) Echo(delta);
  text_ += delta.text;
  generated_ += delta.token_ids.size();
  if (options_.logprobs >= 0 && options_.chat) {
    for (Json& entry :
         ChatLogprobs(options_.tokenizer, delta.token_ids, delta.logprobs, options_.logprobs)) {
      chat_logprobs_.push_back(std::move(entry));
    }
  } else if (options_.logprobs >= 0) {
    completion_logprobs_.Append(delta.token_ids, delta.logprobs);
  }
  if (options_.prompt_logprobs && !delta.prompt_logprobs.empty()) {
    prompt_logprobs_ = PromptLogprobs(options_.tokenizer, delta.prompt_logprobs);
  }
  finish_reason_ = FinishReasonJson(delta.finish);
  stop_reason_ = StopReasonJson(delta);
  ids_.insert(ids_.end(), delta.token_ids.begin(), delta.token_ids.end());
}

bool ChoiceAnswer::HasNews() const {
  const bool shows_tokens =
      options_.logprobs >= 0 || options_.token_ids || options_.tokenizer == nullptr;
  return !text_.empty() || !finish_reason_.is_null() || (shows_tokens && !ids_.empty());
}

Json ChoiceAnswer::TakeLogprobs() {
  if (options_.logprobs < 0) return nullptr;
  if (!options_.chat) return completion_logprobs_.Take();
  return {{"content", std::exchange(chat_logprobs_, Json::array())}, {"refusal", nullptr}};
}

Json ChoiceAnswer::TakeText() {
  std::string text = std::exchange(text_, "");
  if (!options_.stream) return {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  Json delta = Json::object();
  if (!std::exchange(role_sent_, true)) {
    delta = {{"role", "assistant"}, {"content", text}};
  } else if (!text.empty()) {
    delta["content"] = text;
  }
  return delta;
}

Json ChoiceAnswer::Take() {
  Json choice = {{"index", index_}};
  if (!options_.chat) {
    choice["text"] = std::exchange(text_, "");
  } else {
    choice[options_.stream ? "delta" : "message"] = TakeText();
  }
  choice["logprobs"] = TakeLogprobs();
  choice["finish_reason"] = finish_reason_;
  choice["stop_reason"] = stop_reason_;
  if (options_.prompt_logprobs)
    choice["prompt_logprobs"] = std::exchange(prompt_logprobs_, nullptr);
  if (options_.token_ids) choice["token_ids"] = std::exchange(ids_, {});
  ids_.clear();
  return choice;
}

}  // namespace switchyard::gateway
