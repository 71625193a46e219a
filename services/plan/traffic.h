#pragma once

// Bytes between a router worker and the expert hosts for one token. Frame headers are left out:
// tokens that travel together share them.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"

namespace switchyard::plan {

struct Traffic {
  int64_t moe_layers = 0;  // those that a generated token passes
  // Per MoE layer, at most: the token's row once for each host that it visits, and an assignment
  // for each of its experts.
  int64_t dispatch = 0;
  int64_t combine = 0;  // per MoE layer: a row for each of its experts

  int64_t per_token() const { return moe_layers * (dispatch + combine); }
};

// `hosts`: how many the experts are spread over; 0: as many as a token has experts.
Traffic TrafficPerToken(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                        int64_t hosts);

}  // namespace switchyard::plan
