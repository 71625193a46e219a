#pragma once

// The coordinator: who is in the cluster and which expert host owns which experts.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"
#include "services/base/clock.h"

namespace switchyard::coordinator {

struct CoordinatorOptions {
  std::string address = "127.0.0.1:0";  // HOST:PORT; port 0 takes a free one

  // The class that the pool runs; unspecified: the best that the first member offers.
  v1::Numerics numerics = v1::NUMERICS_UNSPECIFIED;

  // Owners wanted of each expert.
  uint32_t replicas = 1;

  // A member silent for this long is out. Also how long a restarted coordinator collects what
  // members report before it decides anything.
  Duration lease = std::chrono::seconds(2);

  // A cluster's first placement waits for so many expert hosts, but not longer than start_wait
  // after the first one, so that nothing is loaded twice.
  uint32_t min_expert_hosts = 1;
  Duration start_wait = std::chrono::seconds(5);

  // How long experts that lost an owner, but have another one, wait for the lost host to come back
  // before they are loaded elsewhere. Experts without an owner never wait.
  Duration repair_delay = std::chrono::seconds(5);

  bool reflection = false;
  const Clock* clock = &Clock::Real();  // for leases and delays; must outlive the coordinator
};

// Serves until it is destroyed. It keeps nothing on disk: one that starts later on the same address
// learns the cluster from its members, who go on without it meanwhile.
class Coordinator {
 public:
  static absl::StatusOr<Coordinator> Start(const CoordinatorOptions& options);

  Coordinator(Coordinator&&) noexcept;
  Coordinator& operator=(Coordinator&&) noexcept;
  ~Coordinator();

  uint16_t port() const;
  const std::string& address() const;  // HOST:PORT

 private:
  struct Impl;
  explicit Coordinator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::coordinator
