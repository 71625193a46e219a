#pragma once

// HTTP/1.1 by Boost.Beast and Asio; nothing of them shows here. Knows no routes and no JSON.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/http_types.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0 takes a free one
  int threads = 2;
  // At most; fewer when the process may not open as many descriptors. One more closes the
  // connection whose request has been outstanding for longest, in whole or in part; when all are
  // being answered it gets 503 itself.
  size_t max_connections = 8192;
  size_t max_header_bytes = 16 << 10;         // 431 beyond
  size_t max_body_bytes = size_t{8} << 20;    // 413 beyond
  size_t max_bodies_bytes = size_t{1} << 30;  // of all bodies being read; 503 beyond
  size_t max_unsent_bytes = size_t{4} << 20;  // of one answer; a slower reader is dropped
  Duration first_byte_timeout = std::chrono::seconds(10);  // for a connection's first request
  Duration idle_timeout = std::chrono::seconds(75);        // between requests of a connection
  Duration header_timeout = std::chrono::seconds(10);      // 408 beyond
  Duration body_timeout = std::chrono::seconds(60);        // 408 beyond
  Duration write_timeout = std::chrono::seconds(30);       // of one write that makes no progress
  Duration ping_interval = std::chrono::seconds(15);
};

struct HttpHandlers {
  // Sees a request whose body has not been read; a response ends it there. Must not block.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> check_head;
  // Answers a request, now or later. Runs on a thread of the server.
  std::function<void(HttpRequest, std::shared_ptr<HttpExchange>)> handle;
  // The answer to what is no acceptable HTTP (400, 408, 413, 431), and to what is too much (503).
  std::function<HttpResponse(int status)> refuse;
};

// A listening server. Thread-safe.
class HttpServer {
 public:
  // UNAVAILABLE when the address cannot be bound, naming it. Raises this process's limit of open
  // descriptors as far as it may.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                           HttpHandlers handlers);
  ~HttpServer();  // closes every connection; handlers are not called afterwards

  uint16_t port() const;

  // Bound to an address that only this machine reaches.
  bool loopback() const;

  // From now on every answer ends its connection.
  void CloseAfterAnswers();

  void StopAccepting();

  // Waits until no request is in progress; false when `grace` was not enough.
  bool WaitIdle(Duration grace);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::gateway
