#pragma once

// Which owner gets which assignment of a layer: of those that can be reached the one with the least
// to do, and hosts that have given cause for doubt only when nobody else is there. No transport in
// here.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "router_service/layer_in_flight.h"
#include "services/base/clock.h"
#include "services/runtime/placement_view.h"

namespace switchyard::router {

class OwnerChoice {
 public:
  // `reachable` tells whether frames can be sent to a member now.
  explicit OwnerChoice(std::function<bool(uint64_t member)> reachable)
      : reachable_(std::move(reachable)) {}

  // Ends all pauses: the new owners may hold what the old ones did not.
  void SetPlacement(std::shared_ptr<const runtime::PlacementView> placement);
  const runtime::PlacementView* placement() const { return placement_.get(); }

  // Asks a member for nothing until then.
  void Pause(uint64_t member, TimePoint until) { paused_until_[member] = until; }
  void EndPauses(TimePoint now);

  // Prefers others to a member, until it has answered.
  void Avoid(uint64_t member) { avoided_.insert(member); }
  void Trust(uint64_t member) { avoided_.erase(member); }

  // What of the layer's pending assignments goes where, ascending; those that nobody can take now
  // are left out. Valid until the next call.
  const std::map<uint64_t, std::vector<AssignmentIndex>>& Choose(const LayerInFlight& layer);

  // True when an expert that the layer still wants has owners and the layer excludes them all.
  bool EveryOwnerExcluded(const LayerInFlight& layer) const;

  // The experts that pending assignments want and no reachable host owns, ascending.
  std::set<uint32_t> Orphans(const LayerInFlight& layer) const;

  // Whether every expert of every layer below `layers` has a reachable owner.
  bool Complete(uint32_t layers) const;

 private:
  std::span<const uint32_t> OwnersOf(const LayerInFlight& layer, AssignmentIndex index) const;
  uint64_t MemberOf(uint32_t host) const {
    return placement_->hosts()[static_cast<int>(host)].id();
  }
  std::vector<AssignmentIndex>* Best(const LayerInFlight& layer, AssignmentIndex index);
  bool Reachable(uint32_t layer, uint32_t expert) const;

  const std::function<bool(uint64_t)> reachable_;
  std::shared_ptr<const runtime::PlacementView> placement_;
  std::map<uint64_t, TimePoint> paused_until_;
  std::set<uint64_t> avoided_;
  std::map<uint64_t, std::vector<AssignmentIndex>> by_member_;  // reused
};

}  // namespace switchyard::router
