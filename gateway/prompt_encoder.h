#pragma once

// Prompts and chats as token ids that fit the model.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/api_error.h"
#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/text_job.h"
#include "gateway/worker_pool.h"
#include "services/tokenizer/chat_template.h"
#include "services/tokenizer/tokenizer.h"

namespace switchyard::gateway {

// What a checkpoint's folder says about text.
struct ModelFiles {
  std::string name;
  SamplingDefaults defaults;                               // generation_config.json's
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;         // null: token ids only
  std::unique_ptr<tokenizer::ChatTemplate> chat_template;  // null: no chat
};

// Thread-safe. Model and pool must outlive it.
class PromptEncoder {
 public:
  PromptEncoder(const ModelFiles& model, const WorkerPool& pool) : model_(model), pool_(pool) {}

  // With `may_cut` text that is much too long loses its beginning instead of being refused: the
  // request wants its last tokens only.
  std::optional<ApiError> EncodeChat(const ChatMessages& chat, bool may_cut,
                                     std::vector<int32_t>* ids) const;
  // Leaves the text empty when the prompt is token ids.
  std::optional<ApiError> EncodePrompt(const Prompt& prompt, bool add_special, bool may_cut,
                                       TextPrompt* encoded) const;

  // Truncates if asked, which leaves the text empty, and says how many tokens may follow. A worker
  // must have told what the model is.
  std::optional<ApiError> Fit(const SamplingFields& sampling, TextPrompt& prompt,
                              uint32_t* max_tokens) const;

 private:
  std::optional<ApiError> Bound(const std::string& field, bool may_cut, std::string& text) const;

  const ModelFiles& model_;
  const WorkerPool& pool_;
};

}  // namespace switchyard::gateway
