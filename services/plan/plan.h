#pragma once

// What serving a model takes, from its config alone: parameters, memory of each role, bytes on the
// wire, and how the experts fit into an operator's hosts.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"
#include "services/plan/expert_layout.h"
#include "services/plan/parameters.h"
#include "services/plan/traffic.h"

namespace switchyard::plan {

struct PlanInput {
  std::string name;  // of the preset or folder
  model::ModelSpec spec;
  kernels::NumericsClass numerics = kernels::NumericsClass::kBf16;
  std::vector<int64_t> hosts;  // memory of each expert host in bytes; may be empty
  int64_t replicas = 1;
  int64_t context = 0;  // positions of a stream; 0: the model's limit
  int64_t streams = 1;  // at a time
};

// Of one router worker, in bytes.
struct RouterMemory {
  int64_t weights = 0;
  int64_t kv_per_token = 0;
  int64_t kv = 0;
  int64_t activations = 0;
  int64_t channels = 0;  // to all hosts

  int64_t total() const { return weights + kv + activations + channels; }
};

// Hosts of one size.
struct HostKind {
  int64_t memory = 0;
  int64_t fewest = 0;        // hosts of this size that hold every replica; 0: no expert fits
  bool router_fits = false;  // a router worker on a host of its own
};

struct Plan {
  std::string name_disagreement;  // empty: the name agrees or states nothing
  ModelParameters parameters;
  RouterMemory router;
  ExpertDemand demand;
  Traffic traffic;
  std::vector<HostKind> kinds;         // of the hosts given, largest first
  std::optional<ExpertLayout> layout;  // where hosts were given and there are experts
};

absl::StatusOr<Plan> MakePlan(const PlanInput& input);

}  // namespace switchyard::plan
