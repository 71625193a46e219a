#pragma once

// Chat messages to prompt text, by the Jinja template that comes with a checkpoint.

#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"

struct template_engine_template;

namespace switchyard::tokenizer {

// What a template may print besides the messages. The JSON values must outlive the call.
struct RenderOptions {
  bool add_generation_prompt = true;
  // The last message is left open: the text ends where its content ends.
  bool continue_final_message = false;
  std::tm now{};                                      // for strftime_now, local time
  const nlohmann::ordered_json* tools = nullptr;      // array; null: none
  const nlohmann::ordered_json* documents = nullptr;  // array; null: none
  const nlohmann::ordered_json* variables = nullptr;  // object: further template variables
};

// Immutable after Open(); safe to use from many threads. Messages are prepared as transformers
// does.
class ChatTemplate {
 public:
  // The template of folder/chat_template.jinja or else of folder/tokenizer_config.json. NOT_FOUND
  // when there is none; INVALID_ARGUMENT, with the place, when it does not compile.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Open(const std::string& folder);

  // The same for a template at hand.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(const std::string& source,
                                                               const std::string& bos_token,
                                                               const std::string& eos_token);
  ~ChatTemplate();

  // `messages` is an array of objects. INVALID_ARGUMENT when the template refuses them
  // (raise_exception: the message is the template's) or cannot print them.
  absl::StatusOr<std::string> Render(const nlohmann::ordered_json& messages,
                                     const RenderOptions& options) const;

 private:
  struct Free {
    void operator()(template_engine_template* compiled) const;
  };

  ChatTemplate() = default;
  absl::StatusOr<std::string> Run(const nlohmann::ordered_json& variables,
                                  const std::tm& now) const;

  std::unique_ptr<template_engine_template, Free> compiled_;
  std::string bos_token_;
  std::string eos_token_;
};

}  // namespace switchyard::tokenizer
