#include "services/plan/traffic.h"

#include <algorithm>
#include <vector>

#include "services/transport/frame.h"

namespace switchyard::plan {

Traffic TrafficPerToken(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                        int64_t hosts) {
  const std::vector<int64_t> layers = spec.MoeLayers();
  if (layers.empty()) return {};
  // Every family has one router for all of its MoE layers.
  const int64_t top_k = spec.layers[static_cast<size_t>(layers.front())].ffn.router->top_k;
  const int64_t row =
      spec.hidden * static_cast<int64_t>(kernels::SizeOf(kernels::WireType(numerics)));
  const int64_t visited = hosts > 0 ? std::min(hosts, top_k) : top_k;
  return {.moe_layers = static_cast<int64_t>(layers.size()),
          .dispatch = visited * row + top_k * static_cast<int64_t>(transport::kAssignmentBytes),
          .combine = top_k * row};
}

}  // namespace switchyard::plan
