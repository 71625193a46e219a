#include "router_service/sampler.h"

#include <limits>

namespace switchyard::router {

std::span<const float> Sampler::Edit(std::span<const float> logits,
                                     const kernels::LogitEdits& edits,
                                     std::span<const int32_t> banned) {
  if (edits.none() && banned.empty()) return logits;
  edited_.resize(logits.size());
  edits.Apply(logits, edited_);
  for (const int32_t token : banned) edited_[token] = -std::numeric_limits<float>::infinity();
  return edited_;
}

int32_t Sampler::Choose(std::span<const float> logits,
                        const kernels::SamplingParameters& parameters, int64_t position) {
  return kernels::SampleToken(logits, parameters, position, workspace_);
}

}  // namespace switchyard::router
