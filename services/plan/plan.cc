#include "services/plan/plan.h"

#include <functional>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/plan/memory.h"
#include "services/plan/name_claim.h"

namespace switchyard::plan {
namespace {

constexpr double kMostBytes = 0x1p60;

// Experts of all stacks; every family has one size and number of them.
ExpertDemand DemandOf(const PlanInput& input) {
  const model::ModelSpec& spec = input.spec;
  ExpertDemand demand = {.channel_bytes = ChannelBytes(spec, input.numerics),
                         .replicas = input.replicas};
  for (int64_t block = 0; block < spec.Blocks(); ++block) {
    const auto& router = spec.Block(block).ffn.router;
    if (!router) continue;
    ++demand.layers;
    if (demand.layers > 1) continue;
    demand.experts = router->experts;
    demand.expert_bytes = ExpertBytes(spec, block, input.numerics);
  }
  return demand;
}

absl::StatusOr<RouterMemory> RouterMemoryOf(const PlanInput& input) {
  const int64_t context = input.context > 0 ? input.context : input.spec.max_positions;
  const double tokens = static_cast<double>(context) * static_cast<double>(input.streams);
  if (tokens * static_cast<double>(KvBytesPerToken(input.spec, input.numerics)) > kMostBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the KV cache of ", input.streams, " streams of ", context,
                     " tokens is larger than any memory; give fewer streams or tokens"));
  }
  return RouterMemory{.weights = RouterWeightBytes(input.spec, input.numerics),
                      .kv_per_token = KvBytesPerToken(input.spec, input.numerics),
                      .kv = KvBytes(input.spec, input.numerics, context, input.streams),
                      .activations = ActivationBytes(input.spec, input.numerics),
                      .channels = static_cast<int64_t>(input.hosts.size()) *
                                  ChannelBytes(input.spec, input.numerics)};
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const PlanInput& input) {
  Plan plan;
  ASSIGN_OR_RETURN(plan.parameters, CountParameters(input.spec));
  plan.name_disagreement = NameDisagreement(input.name, plan.parameters.total());
  ASSIGN_OR_RETURN(plan.router, RouterMemoryOf(input));
  plan.demand = DemandOf(input);
  plan.traffic =
      TrafficPerToken(input.spec, input.numerics, static_cast<int64_t>(input.hosts.size()));
  const bool experts = plan.demand.items() > 0;
  const std::set<int64_t, std::greater<>> sizes(input.hosts.begin(), input.hosts.end());
  for (const int64_t memory : sizes) {
    plan.kinds.push_back({.memory = memory,
                          .fewest = experts ? FewestHosts(plan.demand, memory) : 0,
                          .router_fits = plan.router.total() <= memory});
  }
  if (experts && !input.hosts.empty()) plan.layout = PlaceExperts(plan.demand, input.hosts);
  return plan;
}

}  // namespace switchyard::plan
