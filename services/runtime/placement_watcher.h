#pragma once

// Follows the coordinator's placement. A role that is no member itself (the gateway) uses this
// alone; members have one inside their MembershipAgent.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/base/clock.h"
#include "services/runtime/placement_view.h"

namespace switchyard::runtime {

struct PlacementWatcherOptions {
  std::string coordinator_address;  // HOST:PORT
  uint64_t member_id = 0;           // 0: not a member
  // Called with each new epoch, in order, from the watcher's thread; must not block it for long.
  // Latest() already returns the new one. May be empty.
  std::function<void(std::shared_ptr<const PlacementView>)> on_placement;
};

// Owns one thread, which reconnects for as long as it lives: while the coordinator is away the last
// placement stands. Placements whose epoch is not above the last one are dropped. Thread-safe. The
// destructor waits for a callback in progress.
class PlacementWatcher {
 public:
  explicit PlacementWatcher(PlacementWatcherOptions options);
  ~PlacementWatcher();
  PlacementWatcher(const PlacementWatcher&) = delete;
  PlacementWatcher& operator=(const PlacementWatcher&) = delete;

  // nullptr before the first placement.
  std::shared_ptr<const PlacementView> Latest() const;

  // The first placement that `accept` likes, now or later. It is called with a lock held: it must
  // only look. DEADLINE_EXCEEDED (says which epoch was the last) when none came in `timeout`.
  absl::StatusOr<std::shared_ptr<const PlacementView>> WaitFor(
      const std::function<bool(const PlacementView&)>& accept, Duration timeout) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchyard::runtime
