#pragma once

// The gateway: OpenAI-compatible HTTP in front of the router workers. It owns text (tokenizer, chat
// template, stop strings), authentication and the choice of a worker, and speaks gRPC to the
// workers.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/gateway_options.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

// The keys in a file, one a line (blank lines and lines that start with # do not count), and those
// in `list`, the value of SWITCHYARD_API_KEYS, separated by commas. No file ("") and no list (null)
// mean no keys; one without a key is an error. Errors never hold a key.
absl::StatusOr<std::vector<std::string>> LoadApiKeys(const std::string& file, const char* list);

// A running gateway; the destructor stops it. Thread-safe.
class GatewayServer {
 public:
  // Listens when it returns. Workers may come later: until one is ready, requests get 503.
  static absl::StatusOr<GatewayServer> Start(GatewayOptions options);

  GatewayServer(GatewayServer&&) noexcept;
  GatewayServer& operator=(GatewayServer&&) noexcept;
  ~GatewayServer();

  uint16_t port() const;
  uint16_t grpc_port() const;  // 0 without a gRPC API

  // A worker that can reach every expert is known: /health answers 200.
  bool ready() const;

  // Answers new requests and /health with 503 and ends their connections, soon accepts no further
  // ones, and waits until the requests in progress are done or `grace` is over. True when all were
  // done. Call it once, before the destructor.
  bool Drain(Duration grace);

 private:
  struct Impl;
  explicit GatewayServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::gateway
