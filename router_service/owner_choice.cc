#include "router_service/owner_choice.h"

#include <algorithm>
#include <utility>

namespace switchyard::router {

void OwnerChoice::SetPlacement(std::shared_ptr<const runtime::PlacementView> placement) {
  placement_ = std::move(placement);
  paused_until_.clear();
}

void OwnerChoice::EndPauses(TimePoint now) {
  std::erase_if(paused_until_, [now](const auto& entry) { return entry.second <= now; });
}

std::span<const uint32_t> OwnerChoice::OwnersOf(const LayerInFlight& layer,
                                                AssignmentIndex index) const {
  return placement_->Owners(layer.request().layer, layer.ExpertOf(index));
}

const std::map<uint64_t, std::vector<AssignmentIndex>>& OwnerChoice::Choose(
    const LayerInFlight& layer) {
  for (auto& [member, assignments] : by_member_) assignments.clear();
  if (placement_ == nullptr) return by_member_;
  for (const AssignmentIndex index : layer.pending()) {
    if (auto* const best = Best(layer, index)) best->push_back(index);
  }
  return by_member_;
}

// The list of the owner that is to have the assignment; nullptr when there is none now.
std::vector<AssignmentIndex>* OwnerChoice::Best(const LayerInFlight& layer, AssignmentIndex index) {
  std::vector<AssignmentIndex>* best = nullptr;
  bool best_doubtful = false;
  for (const uint32_t host : OwnersOf(layer, index)) {
    const uint64_t member = MemberOf(host);
    if (!reachable_(member) || paused_until_.contains(member) || layer.Excluded(member)) continue;
    const bool doubtful = avoided_.contains(member) || layer.NotFiniteAt(index) == member;
    std::vector<AssignmentIndex>& assignments = by_member_[member];
    if (best == nullptr ||
        std::pair(doubtful, assignments.size()) < std::pair(best_doubtful, best->size())) {
      best = &assignments;
      best_doubtful = doubtful;
    }
  }
  return best;
}

bool OwnerChoice::EveryOwnerExcluded(const LayerInFlight& layer) const {
  if (placement_ == nullptr) return false;
  const auto& pending = layer.pending();
  return std::any_of(pending.begin(), pending.end(), [&](AssignmentIndex index) {
    const auto owners = OwnersOf(layer, index);
    return !owners.empty() && std::all_of(owners.begin(), owners.end(), [&](uint32_t host) {
      return layer.Excluded(MemberOf(host));
    });
  });
}

bool OwnerChoice::Reachable(uint32_t layer, uint32_t expert) const {
  const auto owners = placement_->Owners(layer, expert);
  return std::any_of(owners.begin(), owners.end(),
                     [this](uint32_t host) { return reachable_(MemberOf(host)); });
}

std::set<uint32_t> OwnerChoice::Orphans(const LayerInFlight& layer) const {
  std::set<uint32_t> orphans;
  for (const AssignmentIndex index : layer.pending()) {
    const uint32_t expert = layer.ExpertOf(index);
    if (placement_ == nullptr || !Reachable(layer.request().layer, expert)) orphans.insert(expert);
  }
  return orphans;
}

bool OwnerChoice::Complete(uint32_t layers) const {
  if (placement_ == nullptr) return false;
  for (const v1::LayerPlacement& layer : placement_->placement().layers()) {
    if (layer.layer() >= layers) continue;
    for (uint32_t expert = 0; expert < placement_->ExpertCount(layer.layer()); ++expert) {
      if (!Reachable(layer.layer(), expert)) return false;
    }
  }
  return true;
}

}  // namespace switchyard::router
