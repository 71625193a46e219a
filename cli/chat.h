#pragma once

// `switchyard chat`: a conversation on the terminal with a gateway, or with a cluster that is
// started for it.

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "cli/layout_options.h"

namespace switchyard::cli {

struct ChatOptions {
  LayoutOptions layout;  // used when there is no --url
  std::string url;
  std::string prompt;  // one question, then exit; empty: a conversation
  std::string api_key;
  float temperature = -1;  // negative: the model's default
  int max_tokens = 256;
  int64_t seed = -1;  // negative: none
};

void AddChatFlags(CLI::App& app, ChatOptions& options);

absl::Status RunChat(const ChatOptions& options);

}  // namespace switchyard::cli
