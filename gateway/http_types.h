#pragma once

// Requests and answers as the handlers of the HTTP server see them.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "services/base/clock.h"

namespace switchyard::gateway {

struct HttpRequest {
  std::string method;  // "POST"
  std::string path;    // target up to '?', as it was sent: nothing is decoded
  std::map<std::string, std::string> headers;  // names in lower case; the first of a repeated one
  std::string body;
  std::optional<Duration> time_left;  // how long the client waits, where it has said so

  // Empty when there is none.
  std::string_view Header(const std::string& lower_case_name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

// One request being answered. Thread-safe; may outlive the connection and the server. Answer once:
// by Send, or by StartStream, Write and Finish.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void Send(HttpResponse response) = 0;

  // Starts an answer whose body (response.body is its first part) grows. While nothing is written
  // for a while, `ping` is.
  virtual void StartStream(HttpResponse response, std::string ping) = 0;
  virtual void Write(std::string data) = 0;
  virtual void Finish() = 0;

  // Calls `gone` once if the client goes away, or reads too slowly, before the answer is complete;
  // at once if it already has. It runs on a thread of the server and must not block.
  virtual void OnDisconnect(std::function<void()> gone) = 0;
};

}  // namespace switchyard::gateway
