#pragma once

// The gRPC server of a role: grpc.health.v1, keepalive and limits the same everywhere.

#include <grpcpp/impl/codegen/service_type.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/base/clock.h"

namespace switchyard::runtime {

struct GrpcService {
  std::string name;                  // v1::Coordinator::service_full_name()
  grpc::Service* service = nullptr;  // outlives the server
};

struct GrpcServerOptions {
  std::string address = "127.0.0.1:0";  // HOST:PORT; port 0 takes a free one
  std::vector<GrpcService> services;
  size_t max_message_bytes = size_t{64} << 20;  // that is received
  int max_streams = 0;                          // calls at a time on one connection; 0: any number
  size_t memory_bytes = 0;                      // for messages on their way; 0: any number
  bool reflection = false;
  // How long a destroyed server waits for calls in progress before it cancels them.
  Duration shutdown_timeout = std::chrono::seconds(2);
};

// A listening server; the destructor shuts it down. Thread-safe.
class GrpcServer {
 public:
  // Listens at once, but tells health checks NOT_SERVING until SetServing(true). UNAVAILABLE when
  // the address cannot be bound (another process on the same port is never shared).
  static absl::StatusOr<GrpcServer> Start(const GrpcServerOptions& options);

  GrpcServer(GrpcServer&&) noexcept;
  GrpcServer& operator=(GrpcServer&&) noexcept;
  ~GrpcServer();

  uint16_t port() const;

  // HOST:PORT with the options' host: what others on the network call, if the host is theirs to
  // call (0.0.0.0 is not).
  const std::string& address() const;

  // What grpc.health.v1 answers, for each service and for "".
  void SetServing(bool serving);

  // Turns NOT_SERVING, takes no more calls, waits for those in progress and cancels what is left
  // after `timeout`. Handlers must return soon after their context is cancelled. Once is enough.
  void Shutdown(Duration timeout);

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::runtime
