#pragma once

// A role's membership in the cluster: registration, lease, placement.
//
// The coordinator's absence is no error: the role goes on with the last placement while the agent
// tries again, and is registered again, as the same incarnation, when the coordinator is back. A
// lost lease is different: other members have written this process off, so it goes on as a stranger
// with a new incarnation and must drop every data channel of the old one. The lease is lost when
// the coordinator says so, and also when the agent sees by itself that it did not run for longer
// than the lease (the process was stopped).

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/coordinator.pb.h"
#include "services/base/clock.h"
#include "services/runtime/placement_view.h"

namespace switchyard::runtime {

struct MembershipOptions {
  std::string coordinator_address;  // HOST:PORT

  // What does not change while the role lives: member.{name, role, control_address},
  // software_version, model_digest, offered, memory_bytes, bytes_per_expert, moe_layers,
  // experts_per_layer. The agent fills in the rest.
  v1::RegisterRequest registration;

  // Fills what changes, just before each registration and heartbeat, from the agent's thread; must
  // not block it for long. Expert hosts set loaded (always all of it), load (rows since the last
  // call) and rows_per_second; a role that leaves sets draining; router workers lower
  // oldest_epoch_in_use, which comes in as the latest epoch seen, while a batch of an earlier one
  // is left. May be empty.
  std::function<void(v1::HeartbeatRequest&)> report;

  // A new epoch, from another thread of the agent; see PlacementWatcherOptions. May be empty.
  std::function<void(std::shared_ptr<const PlacementView>)> on_placement;

  // The role is now this incarnation: drop the data channels of the one before, refuse its frames
  // and orders. Called from the agent's thread, before the new incarnation registers. May be empty.
  std::function<void(uint64_t incarnation)> on_new_incarnation;

  // Only tells whether the process was stopped; must outlive the agent.
  const Clock* clock = &Clock::Real();
};

// Owns two threads (lease, placement). Thread-safe. No callback runs after the destructor;
// callbacks must not destroy the agent. The member is not deregistered: it drains before it goes,
// or its lease runs out.
class MembershipAgent {
 public:
  // Starts registering and returns without waiting for it; callbacks may come before it returns.
  explicit MembershipAgent(MembershipOptions options);
  ~MembershipAgent();
  MembershipAgent(const MembershipAgent&) = delete;
  MembershipAgent& operator=(const MembershipAgent&) = delete;

  // Waits for the first registration. What the pool runs, or: FAILED_PRECONDITION and the like when
  // the coordinator refuses this role (its message says what would fit), DEADLINE_EXCEEDED when it
  // was not reached in time.
  absl::StatusOr<v1::ModelIdentity> WaitRegistered(Duration timeout) const;

  // With the present incarnation.
  v1::Member member() const;

  std::shared_ptr<const PlacementView> Latest() const;  // nullptr before the first

  // As PlacementWatcher::WaitFor.
  absl::StatusOr<std::shared_ptr<const PlacementView>> WaitFor(
      const std::function<bool(const PlacementView&)>& accept, Duration timeout) const;

  // Sends the next heartbeat now, because something changed that should be known (draining).
  void HeartbeatNow();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::runtime
