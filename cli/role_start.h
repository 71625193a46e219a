#pragma once

// Starts one role from its options: the same code for a process of its own and for `--in-process`.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "cli/role_options.h"
#include "kernels/base/thread_pool.h"
#include "services/base/clock.h"
#include "services/transport/loopback.h"

namespace switchyard::cli {

// How long a role may go on with what is in progress when it is told to end.
inline constexpr Duration kDrainTime = std::chrono::seconds(20);

// A running role; the destructor stops it at once.
class RunningRole {
 public:
  virtual ~RunningRole() = default;
  virtual uint16_t port() const = 0;

  // Waits until the role can do its work: a router worker reaches every expert, a gateway has a
  // ready worker. DEADLINE_EXCEEDED says what is missing.
  virtual absl::Status WaitReady(TimePoint deadline) = 0;

  // Finishes what is in progress and takes no more, at most until the deadline.
  virtual void Drain(TimePoint deadline) = 0;
};

// What roles of one process share.
struct RoleEnvironment {
  std::shared_ptr<kernels::ThreadPool> pool;
  std::shared_ptr<transport::LoopbackNetwork> network;  // for transport "loopback"
};

// `threads` 0 means one per core of this machine that this process may use.
std::shared_ptr<kernels::ThreadPool> MakeComputeThreads(int threads);

absl::StatusOr<std::unique_ptr<RunningRole>> StartRole(const RoleOptions& options,
                                                       const RoleEnvironment& environment);

}  // namespace switchyard::cli
