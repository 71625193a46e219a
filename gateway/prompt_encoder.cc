#include "gateway/prompt_encoder.h"

#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::gateway {
namespace {

constexpr uint64_t kPositionsWithoutModel = 1 << 17;  // before a worker has said how many there are

}  // namespace

// Keeps what cannot fit from being cut into tokens, which takes time: refuses it, or drops its
// beginning when the request asks for its last tokens only.
std::optional<ApiError> PromptEncoder::Bound(const std::string& field, bool may_cut,
                                             std::string& text) const {
  const auto model = pool_.model();
  const uint64_t tokens = model ? model->max_positions : kPositionsWithoutModel;
  const uint64_t limit = tokens * model_.tokenizer->max_token_bytes();
  if (text.size() <= limit) return std::nullopt;
  if (may_cut) {
    size_t start = text.size() - limit;
    while (start < text.size() && (text[start] & 0xC0) == 0x80) ++start;  // inside a character
    text.erase(0, start);
    return std::nullopt;
  }
  return ApiError{.status = 400,
                  .message = absl::StrCat("the model takes ", tokens,
                                          " tokens; the text has more than ", limit, " bytes"),
                  .param = field,
                  .code = "context_length_exceeded"};
}

std::optional<ApiError> PromptEncoder::EncodeChat(const ChatMessages& chat, bool may_cut,
                                                  std::vector<int32_t>* ids) const {
  if (model_.tokenizer == nullptr || model_.chat_template == nullptr) {
    return InvalidField("messages", "the model has no chat template");
  }
  tokenizer::RenderOptions options{.add_generation_prompt = chat.add_generation_prompt,
                                   .continue_final_message = chat.continue_final_message};
  const std::time_t now = std::time(nullptr);
  localtime_r(&now, &options.now);
  if (!chat.documents.is_null()) options.documents = &chat.documents;
  if (!chat.template_variables.is_null()) options.variables = &chat.template_variables;
  auto text = model_.chat_template->Render(chat.messages, options);
  if (!text.ok()) {
    return ApiError{
        .status = 400, .message = std::string(text.status().message()), .param = "messages"};
  }
  if (auto error = Bound("messages", may_cut, *text)) return error;
  auto encoded = model_.tokenizer->EncodeRendered(*text);
  if (!encoded.ok()) return FromWorkerStatus(encoded.status());
  *ids = *std::move(encoded);
  return std::nullopt;
}

std::optional<ApiError> PromptEncoder::EncodePrompt(const Prompt& prompt, bool add_special,
                                                    bool may_cut, TextPrompt* encoded) const {
  const tokenizer::Tokenizer* tokenizer = model_.tokenizer.get();
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
    encoded->ids = *ids;
    return std::nullopt;
  }
  if (tokenizer == nullptr) {
    return InvalidField("prompt", "the model has no tokenizer; send token ids");
  }
  std::string text = std::get<std::string>(prompt);
  if (auto error = Bound("prompt", may_cut, text)) return error;
  auto ids = tokenizer->Encode(text, add_special);
  if (!ids.ok()) return FromWorkerStatus(ids.status());
  encoded->text = std::move(text);
  encoded->ids = *std::move(ids);
  return std::nullopt;
}

std::optional<ApiError> PromptEncoder::Fit(const SamplingFields& sampling, TextPrompt& prompt,
                                           uint32_t* max_tokens) const {
  std::vector<int32_t>& ids = prompt.ids;
  if (sampling.truncate_prompt_tokens && ids.size() > *sampling.truncate_prompt_tokens) {
    ids.erase(ids.begin(), ids.end() - *sampling.truncate_prompt_tokens);
    prompt.text.clear();  // no longer theirs
  }
  if (ids.empty()) return InvalidField("prompt", "must hold at least one token");
  const uint64_t limit = pool_.model()->max_positions;
  const uint64_t least = sampling.max_tokens == 0u ? 0 : 1;
  const uint64_t wanted = sampling.max_tokens.value_or(least);
  if (ids.size() + wanted > limit) {
    return ApiError{.status = 400,
                    .message = absl::StrCat("the model takes ", limit, " tokens; the prompt has ",
                                            ids.size(), " and the answer may have ", wanted),
                    .param = ids.size() + least > limit ? "prompt" : "max_tokens",
                    .code = "context_length_exceeded"};
  }
  *max_tokens = static_cast<uint32_t>(sampling.max_tokens.value_or(limit - ids.size()));
  return std::nullopt;
}

}  // namespace switchyard::gateway
