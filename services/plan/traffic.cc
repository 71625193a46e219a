#include "services/plan/traffic.h"

#include <algorithm>

#include "services/transport/frame.h"

namespace switchyard::plan {

Traffic TrafficPerToken(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                        int64_t hosts) {
  // Every family has one router for all of its MoE layers.
  const model::RouterSpec* router = nullptr;
  int64_t moe_layers = 0;
  for (const model::LayerSpec& layer : spec.layers) {
    if (!layer.ffn.router) continue;
    router = &*layer.ffn.router;
    ++moe_layers;
  }
  if (router == nullptr) return {};
  const int64_t top_k = router->top_k;
  const int64_t row =
      spec.hidden * static_cast<int64_t>(kernels::SizeOf(kernels::WireType(numerics)));
  const int64_t visited = hosts > 0 ? std::min(hosts, top_k) : top_k;
  return {.moe_layers = moe_layers,
          .dispatch = visited * row + top_k * static_cast<int64_t>(transport::kAssignmentBytes),
          .combine = top_k * row};
}

}  // namespace switchyard::plan
