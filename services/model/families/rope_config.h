#pragma once

#include "absl/status/statusor.h"
#include "services/model/json_fields.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

struct RopeOptions {
  double theta = 1e4;         // where the config has none
  int64_t head_dim = 0;       // the part of a head that could rotate
  int64_t max_positions = 0;  // max_position_embeddings
  // Whether the family honours partial_rotary_factor, and what an absent one means. transformers
  // ignores the key in the other families; here it is refused unless it is 1.
  bool partial = false;
  double default_partial = 1.0;
};

// rope_theta and rope_scaling (transformers 4), else rope_parameters (5). Where both stand the
// older key wins whole, and a top-level original_max_position_embeddings wins over the inner one.
absl::StatusOr<RopeSpec> ParseRope(const JsonFields& config, const RopeOptions& options);

}  // namespace switchyard::model
