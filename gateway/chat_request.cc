#include "gateway/chat_request.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::gateway {
namespace {

// Templates see text; parts of type text become one, a line each, as other servers do.
std::optional<std::string> TextOfParts(const Json& parts) {
  std::string text;
  for (const Json& part : parts) {
    if (!part.is_object() || part.value("type", Json()) != "text" ||
        !part.value("text", Json()).is_string()) {
      return std::nullopt;
    }
    if (&part != &parts.front()) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

void CheckMessage(FieldReader& reader, const std::string& place, Json& message) {
  if (!message.is_object()) {
    reader.Fail("messages", place + " must be an object");
    return;
  }
  if (!message.value("role", Json()).is_string()) {
    reader.Fail("messages", place + ".role must be a string");
    return;
  }
  const auto content = message.find("content");
  if (content == message.end() || content->is_null() || content->is_string()) return;
  const auto text = content->is_array() ? TextOfParts(*content) : std::nullopt;
  if (!text) {
    reader.Fail("messages", place + ".content must be a string or an array of text parts");
    return;
  }
  *content = *text;
}

void RefuseTools(FieldReader& reader) {
  reader.MustBeEmpty("tools");
  reader.MustBeEmpty("functions");
  reader.MustBeEmpty("chat_template");
  if (const Json* choice = reader.Value("tool_choice")) {
    if (*choice != "none" && *choice != "auto") {
      reader.Fail("tool_choice", "tools are not supported by this server");
    }
  }
  reader.Bool("parallel_tool_calls", true);
}

}  // namespace

ChatMessages ReadChatMessages(FieldReader& reader) {
  ChatMessages chat;
  if (const Json* messages = reader.Array("messages")) chat.messages = *messages;
  if (chat.messages.empty()) reader.Fail("messages", "must hold at least one message");
  size_t index = 0;
  for (Json& message : chat.messages) {
    CheckMessage(reader, absl::StrCat("[", index++, "]"), message);
  }
  chat.continue_final_message = reader.Bool("continue_final_message", false);
  chat.add_generation_prompt = reader.Bool("add_generation_prompt", !chat.continue_final_message);
  if (chat.continue_final_message && chat.add_generation_prompt) {
    reader.Fail("continue_final_message", "cannot be true together with add_generation_prompt");
  }
  if (const Json* documents = reader.Array("documents")) chat.documents = *documents;
  if (const Json* variables = reader.Object("chat_template_kwargs")) {
    chat.template_variables = *variables;
    for (const char* name : {"messages", "tools", "documents", "strftime_now", "raise_exception"}) {
      if (variables->contains(name)) {
        reader.Fail("chat_template_kwargs", absl::StrCat("must not hold ", name));
      }
    }
  }
  return chat;
}

std::optional<ApiError> ParseChatRequest(const Json& json, const ServerLimits& limits,
                                         ChatRequest* request) {
  FieldReader reader(json);
  request->sampling = ReadSamplingFields(reader, limits);
  const auto old_name = ReadTokenLimit(reader, "max_tokens");
  const auto new_name = ReadTokenLimit(reader, "max_completion_tokens");
  request->sampling.max_tokens = new_name ? new_name : old_name;
  request->chat = ReadChatMessages(reader);
  const bool logprobs = reader.Bool("logprobs", false);
  const auto alternatives = reader.Integer("top_logprobs", 0, kMaxLogprobs);
  if (alternatives && *alternatives > 0 && !logprobs) {
    reader.Fail("top_logprobs", "needs logprobs to be true");
  }
  if (logprobs) request->logprobs = alternatives.value_or(0);
  RefuseTools(reader);
  if (reader.Bool("echo", false)) reader.Fail("echo", "is not supported by this server");
  const SamplingFields& sampling = request->sampling;
  if (sampling.max_tokens == 0u) {
    reader.Fail(new_name ? "max_completion_tokens" : "max_tokens", "must be at least 1");
  }
  if (sampling.max_tokens && sampling.min_tokens > *sampling.max_tokens) {
    reader.Fail("min_tokens", "must not be above max_tokens");
  }
  request->unknown_fields = reader.Unknown();
  return reader.error();
}

}  // namespace switchyard::gateway
