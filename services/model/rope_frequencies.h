#pragma once

// The rope kind of a model as inverse frequencies, computed in fp32 step by step as transformers
// does, since the difference to exact arithmetic grows with the position.

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/rope/rope.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// The table for a sequence of `length` positions. It matters for dynamic (which stretches with the
// length beyond the original one) and longrope (which has a second table beyond it); 0: any that
// is not longer than the original. Keys of one sequence must all be rotated with one table.
absl::StatusOr<kernels::RopeTable> RopeFrequencies(const RopeSpec& rope, int64_t length = 0);

// Whether another length can give another table.
bool RopeDependsOnLength(const RopeSpec& rope);

}  // namespace switchyard::model
