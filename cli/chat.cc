#include "cli/chat.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/http_client.h"
#include "cli/local_cluster.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

class Conversation {
 public:
  Conversation(const ChatOptions& options, std::string url)
      : options_(options), url_(std::move(url)) {}

  // Asks and prints the answer while it comes.
  absl::Status Ask(const std::string& text);

 private:
  const ChatOptions& options_;
  const std::string url_;
  nlohmann::json messages_ = nlohmann::json::array();
};

// The text that an event adds; an error that came after the answer had begun.
absl::StatusOr<std::string> DeltaOf(std::string_view event) {
  const auto json = nlohmann::json::parse(event, nullptr, false);
  if (!json.is_object()) return absl::InternalError("the server sent an event that is not JSON");
  if (json.contains("error")) {
    return absl::UnavailableError(json["error"].value("message", "the server reported an error"));
  }
  if (!json.contains("choices") || json["choices"].empty()) return std::string();
  const nlohmann::json& delta = json["choices"][0]["delta"];
  if (!delta.contains("content") || !delta["content"].is_string()) return std::string();
  return delta["content"].get<std::string>();
}

absl::Status Conversation::Ask(const std::string& text) {
  messages_.push_back({{"role", "user"}, {"content", text}});
  nlohmann::json body = {
      {"messages", messages_}, {"stream", true}, {"max_tokens", options_.max_tokens}};
  if (options_.temperature >= 0) body["temperature"] = options_.temperature;
  if (options_.seed >= 0) body["seed"] = options_.seed;
  std::string answer;
  absl::Status failure;
  const absl::Status sent =
      StreamHttp({.url = absl::StrCat(url_, "/v1/chat/completions"),
                  .json_body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                  .api_key = options_.api_key},
                 [&](std::string_view event) {
                   if (event == "[DONE]") return false;
                   const absl::StatusOr<std::string> delta = DeltaOf(event);
                   if (!delta.ok()) {
                     failure = delta.status();
                     return false;
                   }
                   answer += *delta;
                   fputs(delta->c_str(), stdout);
                   fflush(stdout);
                   return true;
                 });
  putchar('\n');
  RETURN_IF_ERROR(sent);
  RETURN_IF_ERROR(failure);
  messages_.push_back({{"role", "assistant"}, {"content", answer}});
  return absl::OkStatus();
}

absl::Status Converse(Conversation& conversation) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  std::string line;
  while (true) {
    if (terminal) {
      fputs("> ", stdout);
      fflush(stdout);
    }
    if (!std::getline(std::cin, line)) return absl::OkStatus();
    if (line.empty()) continue;
    RETURN_IF_ERROR(conversation.Ask(line));
  }
}

}  // namespace

void AddChatFlags(CLI::App& app, ChatOptions& options) {
  app.add_option("model", options.layout.model, "Checkpoint folder, when no --url is given");
  AddFlag(app, "--url", options.url, "Address of a gateway, for example http://127.0.0.1:8000");
  AddFlag(app, "--prompt", options.prompt, "Asks this one question and exits");
  app.add_option("--api-key", options.api_key, "Bearer key")->envname(EnvironmentName("--api-key"));
  AddFlag(app, "--temperature", options.temperature, "Negative: the model's default");
  AddFlag(app, "--max-tokens", options.max_tokens, "Longest answer in tokens")
      ->check(CLI::PositiveNumber);
  AddFlag(app, "--seed", options.seed, "Makes sampled answers repeatable; negative: none");
  AddLayoutFlags(app, options.layout);
}

absl::Status RunChat(const ChatOptions& options) {
  std::unique_ptr<LocalCluster> cluster;
  std::string url = std::string(absl::StripSuffix(options.url, "/"));
  if (url.empty()) {
    if (options.layout.model.empty()) {
      return absl::InvalidArgumentError("chat needs a MODEL folder or --url");
    }
    ASSIGN_OR_RETURN(cluster, LocalCluster::Start(options.layout, {.start = true, .port = 0}));
    url = absl::StrCat("http://127.0.0.1:", cluster->gateway_port());
  }
  Conversation conversation(options, url);
  const absl::Status status =
      options.prompt.empty() ? Converse(conversation) : conversation.Ask(options.prompt);
  if (cluster != nullptr) cluster->Stop(std::chrono::seconds(2));
  return status;
}

}  // namespace switchyard::cli
