#include "services/tokenizer/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "services/base/status_macros.h"
#include "services/tokenizer/model_files.h"
#include "services/tokenizer/text_engine/template_engine.h"

namespace switchyard::tokenizer {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kTemplateFile = "chat_template.jinja";

// Stands at the end of the final message while it is rendered, so that its end can be found again.
// The space shows whether the template trims the message.
constexpr std::string_view kEndMark = "CONTINUE_FINAL_MESSAGE_TAG ";

std::string TakeText(text_engine_text text) {
  std::string result = text.data == nullptr ? "" : std::string(text.data, text.size);
  text_engine_free_text(text);
  return result;
}

std::string_view TrimmedRight(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t\n\r\f\v") + 1);
}

std::string_view Trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\n\r\f\v");
  return start == std::string_view::npos ? "" : TrimmedRight(text.substr(start));
}

// A template may sit in the config as text or as a list of named ones.
absl::StatusOr<std::string> TemplateOf(const nlohmann::json& config) {
  const auto found = config.find("chat_template");
  if (found != config.end() && found->is_string()) return found->get<std::string>();
  if (found != config.end() && found->is_array()) {
    for (const auto& entry : *found) {
      if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
      const auto text = entry.find("template");
      if (text != entry.end() && text->is_string()) return text->get<std::string>();
    }
  }
  return absl::NotFoundError("the model has no chat template");
}

// Messages without the keys whose value is null, and with reasoning under both names in use.
ordered_json Prepared(const ordered_json& messages) {
  ordered_json prepared = ordered_json::array();
  for (const ordered_json& message : messages) {
    ordered_json kept = ordered_json::object();
    const auto reasoning = message.find("reasoning_content");
    const bool has_reasoning = reasoning != message.end() && !reasoning->is_null();
    if (has_reasoning && !message.contains("thinking")) kept["thinking"] = *reasoning;
    for (const auto& [key, value] : message.items()) {
      if (!value.is_null()) kept[key] = value;
    }
    prepared.push_back(std::move(kept));
  }
  return prepared;
}

// Marks the end of the final message; returns its text as it was.
absl::StatusOr<std::string> MarkFinalMessage(ordered_json& messages) {
  ordered_json& message = messages.back();
  const auto content = message.find("content");
  ordered_json* text = nullptr;
  if (content != message.end() && content->is_string()) text = &*content;
  if (content != message.end() && content->is_array()) {
    for (ordered_json& part : *content) {
      if (part.is_object() && part.contains("text") && part["text"].is_string()) {
        text = &part["text"];
      }
    }
  }
  if (text == nullptr) {
    return absl::InvalidArgumentError("continue_final_message: the final message has no text");
  }
  std::string original = text->get<std::string>();
  *text = original + std::string(kEndMark);
  return original;
}

absl::StatusOr<std::string> CutAfterFinalMessage(std::string rendered,
                                                 std::string_view final_text) {
  const std::string_view mark = TrimmedRight(kEndMark);
  const size_t end = rendered.rfind(mark);
  if (end == std::string::npos || rendered.find(Trimmed(final_text)) == std::string::npos) {
    return absl::InvalidArgumentError(
        "continue_final_message: the final message does not appear in the text that the chat "
        "template "
        "makes");
  }
  const bool keeps_spaces = std::string_view(rendered).substr(end).starts_with(kEndMark);
  rendered.resize(end);
  if (!keeps_spaces) rendered.resize(TrimmedRight(rendered).size());
  return rendered;
}

}  // namespace

void ChatTemplate::Free::operator()(template_engine_template* compiled) const {
  template_engine_free(compiled);
}

ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(const nlohmann::json config, ReadTokenizerConfig(folder));
  auto source = ReadModelFile(folder, kTemplateFile);
  if (absl::IsNotFound(source.status())) source = TemplateOf(config);
  RETURN_IF_ERROR(source.status());
  return Compile(*source, SpecialTokenText(config, "bos_token"),
                 SpecialTokenText(config, "eos_token"));
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Compile(const std::string& source,
                                                                    const std::string& bos_token,
                                                                    const std::string& eos_token) {
  template_engine_template* compiled = nullptr;
  text_engine_text error{};
  if (template_engine_compile(source.data(), source.size(), &compiled, &error) != TEXT_ENGINE_OK) {
    return absl::InvalidArgumentError("the chat template does not compile: " + TakeText(error));
  }
  std::unique_ptr<ChatTemplate> result(new ChatTemplate());
  result->compiled_.reset(compiled);
  result->bos_token_ = bos_token;
  result->eos_token_ = eos_token;
  return result;
}

absl::StatusOr<std::string> ChatTemplate::Render(const ordered_json& messages,
                                                 const RenderOptions& options) const {
  if (!messages.is_array() || messages.empty()) {
    return absl::InvalidArgumentError("messages: at least one message is needed");
  }
  ordered_json prepared = Prepared(messages);
  std::string final_text;
  if (options.continue_final_message) {
    ASSIGN_OR_RETURN(final_text, MarkFinalMessage(prepared));
  }
  ordered_json variables = ordered_json::object();
  variables["messages"] = std::move(prepared);
  variables["tools"] = options.tools ? *options.tools : ordered_json();
  variables["documents"] = options.documents ? *options.documents : ordered_json();
  variables["add_generation_prompt"] = options.add_generation_prompt;
  if (!bos_token_.empty()) variables["bos_token"] = bos_token_;
  if (!eos_token_.empty()) variables["eos_token"] = eos_token_;
  if (options.variables != nullptr) {
    for (const auto& [key, value] : options.variables->items()) variables[key] = value;
  }
  ASSIGN_OR_RETURN(std::string rendered, Run(variables, options.now));
  if (!options.continue_final_message) return rendered;
  return CutAfterFinalMessage(std::move(rendered), final_text);
}

absl::StatusOr<std::string> ChatTemplate::Run(const ordered_json& variables,
                                              const std::tm& now) const {
  const std::string json = variables.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  text_engine_text text{};
  const text_engine_status status =
      template_engine_render(compiled_.get(), json.data(), json.size(), &now, &text);
  std::string result = TakeText(text);
  switch (status) {
    case TEXT_ENGINE_OK:
      return result;
    case TEXT_ENGINE_RAISED:
      return absl::InvalidArgumentError(result);
    case TEXT_ENGINE_ERROR:
      break;
  }
  return absl::InvalidArgumentError("the chat template cannot print these messages: " + result);
}

}  // namespace switchyard::tokenizer
