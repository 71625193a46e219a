#pragma once

// The gateway's gRPC API (proto/inference.proto): each call becomes the request that HTTP would
// have carried and goes through the same routes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/routes.h"
#include "gateway/worker_pool.h"
#include "services/base/clock.h"

namespace switchyard::gateway {

struct GrpcApiOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0 takes a free one
  size_t max_message_bytes = size_t{8} << 20;
};

// A listening server, with grpc.health.v1 that follows the pool. Thread-safe.
class GrpcApi {
 public:
  // Routes and pool must outlive it. UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<GrpcApi>> Start(const GrpcApiOptions& options,
                                                        Routes& routes, const WorkerPool& pool);
  ~GrpcApi();  // cancels the calls that are left

  uint16_t port() const;

  // From now on health checks say NOT_SERVING.
  void StartDraining();

  // Takes no more calls and waits for those in progress; what is left after `grace` is cancelled.
  // Once is enough.
  void Shutdown(Duration grace);

 private:
  struct Impl;
  explicit GrpcApi(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::gateway
