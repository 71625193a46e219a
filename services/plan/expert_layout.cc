#include "services/plan/expert_layout.h"

#include <algorithm>
#include <cstddef>

#include "services/placement/placement.h"

namespace switchyard::plan {
namespace {

void Assign(const ExpertDemand& demand, ExpertLayout& layout) {
  placement::PlacementInput input;
  input.layers = static_cast<uint32_t>(demand.layers);
  input.experts_per_layer = static_cast<uint32_t>(demand.experts);
  input.replicas = static_cast<uint32_t>(demand.replicas);
  for (const HostShare& host : layout.hosts) {
    input.hosts.push_back({.capacity = static_cast<uint32_t>(host.capacity)});
  }
  for (const std::vector<uint32_t>& owners : placement::Place(input).owners) {
    for (const uint32_t host : owners) ++layout.hosts[host].experts;
  }
  for (HostShare& host : layout.hosts) {
    host.used = demand.channel_bytes + host.experts * demand.expert_bytes;
  }
}

}  // namespace

int64_t CapacityOf(const ExpertDemand& demand, int64_t memory) {
  return std::clamp<int64_t>((memory - demand.channel_bytes) / demand.expert_bytes, 0,
                             demand.items());
}

ExpertLayout PlaceExperts(const ExpertDemand& demand, const std::vector<int64_t>& memory) {
  ExpertLayout layout;
  int64_t room = 0;
  for (const int64_t bytes : memory) {
    layout.hosts.push_back({.memory = bytes, .capacity = CapacityOf(demand, bytes)});
    room += layout.hosts.back().capacity;
  }
  // No host takes an expert twice or more experts than there are, so room is all that counts.
  layout.missing = std::max<int64_t>(0, demand.items() - room);
  if (layout.missing == 0) {
    const auto hosts = static_cast<int64_t>(memory.size());
    const int64_t lacking = demand.replicas * demand.items() - room;
    layout.short_of_replicas =
        hosts < demand.replicas ? demand.items() : std::clamp<int64_t>(lacking, 0, demand.items());
  }
  if (layout.fits()) Assign(demand, layout);
  return layout;
}

int64_t FewestHosts(const ExpertDemand& demand, int64_t memory) {
  const int64_t capacity = CapacityOf(demand, memory);
  if (capacity == 0) return 0;
  return std::max(demand.replicas, (demand.replicas * demand.items() + capacity - 1) / capacity);
}

}  // namespace switchyard::plan
