#pragma once

// The rope kind of a model as inverse frequencies, computed in fp32 step by step as transformers
// does, since the difference to exact arithmetic grows with the position.

#include "absl/status/statusor.h"
#include "kernels/rope/rope.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// kDefault, kLinear and kLlama3; kUnimplemented for the other kinds.
absl::StatusOr<kernels::RopeTable> RopeFrequencies(const RopeSpec& rope);

}  // namespace switchyard::model
