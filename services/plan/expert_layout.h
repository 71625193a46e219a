#pragma once

// Which of an operator's hosts hold how many experts: capacities as the coordinator counts them,
// owners by the coordinator's own placement.

#include <cstdint>
#include <vector>

namespace switchyard::plan {

struct ExpertDemand {
  int64_t layers = 0;   // MoE layers
  int64_t experts = 0;  // of a layer
  int64_t expert_bytes = 0;
  int64_t channel_bytes = 0;  // what a host needs besides its experts
  int64_t replicas = 1;

  int64_t items() const { return layers * experts; }
};

struct HostShare {
  int64_t memory = 0;    // bytes
  int64_t capacity = 0;  // experts that fit
  int64_t experts = 0;   // that it holds
  int64_t used = 0;      // bytes, of experts and channel
};

struct ExpertLayout {
  std::vector<HostShare> hosts;  // in the order given
  // Experts without an owner, or, where there are none of those, without all of their replicas.
  // While it is not 0, nothing is placed: HostShare::experts and used are 0.
  int64_t missing = 0;
  int64_t short_of_replicas = 0;

  bool fits() const { return missing == 0 && short_of_replicas == 0; }
};

// Experts that fit into a host of so many bytes.
int64_t CapacityOf(const ExpertDemand& demand, int64_t memory);

ExpertLayout PlaceExperts(const ExpertDemand& demand, const std::vector<int64_t>& memory);

// The smallest number of hosts of `memory` bytes each that hold every replica; 0: not one expert
// fits into such a host.
int64_t FewestHosts(const ExpertDemand& demand, int64_t memory);

}  // namespace switchyard::plan
