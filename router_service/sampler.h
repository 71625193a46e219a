#pragma once

// Choice of a sequence's next token. The choice depends on the logits, the parameters, the absolute
// position and the banned tokens only, so a request that moves to another worker goes on the same.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling/sampling.h"

namespace switchyard::router {

// Scratch for one thread.
class Sampler {
 public:
  // The token at `position`; never one of `banned`. -1 when the logits are not numbers or nothing
  // is left to choose.
  int32_t Choose(std::span<const float> logits, const kernels::SamplingParameters& parameters,
                 int64_t position, std::span<const int32_t> banned);

 private:
  kernels::SamplingWorkspace workspace_;
  std::vector<float> allowed_;
};

}  // namespace switchyard::router
