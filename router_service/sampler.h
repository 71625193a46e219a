#pragma once

// Choice of a sequence's next token. The choice depends on the logits, the parameters, the absolute
// position, the tokens before it and the banned ones only, so a request that moves to another
// worker goes on the same.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling/logit_edits.h"
#include "kernels/sampling/sampling.h"

namespace switchyard::router {

// Scratch for one thread.
class Sampler {
 public:
  // The logits with `edits`, and -inf for the tokens of `banned`: `logits` themselves when there is
  // nothing to change, else valid until the next call.
  std::span<const float> Edit(std::span<const float> logits, const kernels::LogitEdits& edits,
                              std::span<const int32_t> banned);

  // The token at `position`. -1 when the logits are not numbers or nothing is left to choose.
  int32_t Choose(std::span<const float> logits, const kernels::SamplingParameters& parameters,
                 int64_t position);

 private:
  kernels::SamplingWorkspace workspace_;
  std::vector<float> edited_;
};

}  // namespace switchyard::router
