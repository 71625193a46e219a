#pragma once

// An expert host: holds the experts that the coordinator gives it, computes what router workers
// send. Control over gRPC (proto/expert_host.proto), rows over the transport.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "expert_service/expert_loop.h"
#include "kernels/device/device.h"
#include "services/base/clock.h"

namespace switchyard::expert {

struct ExpertHostOptions {
  std::string name;  // unique in the cluster
  std::string model_folder;
  std::string coordinator_address;  // HOST:PORT
  std::string listen_address = "127.0.0.1:0";
  std::string advertised_host;  // what others call; the listen address' host if empty
  uint64_t memory_bytes = 0;    // for experts; 0: as many as there are
  // Makes the data path: (member, incarnation) -> transport.
  std::function<absl::StatusOr<std::unique_ptr<transport::Transport>>(uint64_t member,
                                                                      uint64_t incarnation)>
      transport;
  kernels::Device* device = nullptr;  // outlives the host
  Duration registration_timeout = std::chrono::seconds(60);
};

// Move-only; the destructor stops at once. Thread-safe.
class ExpertHost {
 public:
  // Returns when the host is registered and serves its control port. Errors: the checkpoint's, the
  // coordinator's refusal, a port that is taken.
  static absl::StatusOr<ExpertHost> Start(ExpertHostOptions options);

  ExpertHost(ExpertHost&&) noexcept;
  ExpertHost& operator=(ExpertHost&&) noexcept;
  ~ExpertHost();

  uint16_t port() const;

  // Asks the coordinator to move the experts elsewhere and waits until the placement does not name
  // this host any more, or no router worker is left, at most until the deadline; then the host may
  // be destroyed without a re-sent row.
  absl::Status Drain(TimePoint deadline);

 private:
  struct Impl;
  explicit ExpertHost(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::expert
