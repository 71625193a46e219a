// Bytes as a client could send them, through the parser of requests, the JSON body and the readers
// of fields: what a request passes before it reaches a worker, without sockets. Nothing may crash,
// limits hold, and how the bytes are cut changes no request. Routes are left out: they
// need a pool of workers, which needs a network.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/chat_request.h"
#include "gateway/completion_request.h"
#include "gateway/http_request_parser.h"
#include "gateway/json_body.h"
#include "services/base/check.h"

namespace switchyard::gateway {
namespace {

constexpr size_t kMaxHeader = 1024;
constexpr size_t kMaxBody = 4096;
constexpr int kMaxChoices = 1024;
const ServerLimits kLimits{.model = "demo", .vocabulary = 1000};

struct Outcome {
  int refusal = 0;
  std::optional<HttpRequest> request;
};

// Reads as a connection does, from pieces of some bytes.
Outcome Read(std::string_view bytes, size_t piece) {
  HttpRequestParser parser(kMaxHeader, kMaxBody);
  std::string unread;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    unread += bytes.substr(at, piece);
    // Twice: it stops behind the head.
    for (int i = 0; i < 2 && parser.refusal() == 0 && !parser.done(); ++i) {
      const size_t used = parser.Put(unread);
      CHECK(used <= unread.size()) << used;
      unread.erase(0, used);
      CHECK(!parser.head_done() || parser.body_bytes() <= kMaxBody) << parser.body_bytes();
    }
    if (parser.refusal() != 0) return {.refusal = parser.refusal()};
    CHECK(parser.done() || unread.size() <= kMaxHeader) << unread.size() << " bytes pile up";
    if (parser.done()) return {.request = parser.Take()};
  }
  return {};
}

void TryBody(const std::string& body) {
  Json json;
  const auto refused = ParseJsonBody(body, &json);
  if (refused) {
    CHECK(refused->status == 400 && !refused->message.empty()) << "an error must say something";
    return;
  }
  CompletionRequest completion;
  if (const auto error = ParseCompletionRequest(json, kLimits, &completion)) {
    CHECK(error->status == 400 || error->status == 404) << error->status;
  } else {
    CHECK(!completion.prompts.empty() &&
          completion.prompts.size() * completion.sampling.n <= kMaxChoices)
        << completion.prompts.size();
  }
  ChatRequest chat;
  if (const auto error = ParseChatRequest(json, kLimits, &chat)) {
    CHECK(error->status == 400 || error->status == 404) << error->status;
  } else {
    CHECK(!chat.chat.messages.empty()) << "a chat of no messages";
  }
}

void TryRequest(std::string_view bytes) {
  const Outcome whole = Read(bytes, bytes.size() + 1);
  const Outcome pieces = Read(bytes, 7);
  // The limit of a line holds for lines that come in pieces only, so these may be refused alone.
  if (pieces.request) {
    CHECK(whole.request && whole.request->body == pieces.request->body) << "cut into pieces";
  }
  if (whole.request) TryBody(whole.request->body);
}

}  // namespace
}  // namespace switchyard::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  switchyard::gateway::TryRequest(bytes);
  switchyard::gateway::TryBody(std::string(bytes));
  return 0;
}
