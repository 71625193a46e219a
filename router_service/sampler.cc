#include "router_service/sampler.h"

#include <limits>

namespace switchyard::router {

int32_t Sampler::Choose(std::span<const float> logits,
                        const kernels::SamplingParameters& parameters, int64_t position,
                        std::span<const int32_t> banned) {
  if (!banned.empty()) {
    allowed_.assign(logits.begin(), logits.end());
    for (const int32_t token : banned) allowed_[token] = -std::numeric_limits<float>::infinity();
    logits = allowed_;
  }
  return kernels::SampleToken(logits, parameters, position, workspace_);
}

}  // namespace switchyard::router
