#pragma once

// How many rows a router worker computes at a time, which sets the memory of its workspaces.

#include <cstdint>

namespace switchyard::model {

// Of a micro-batch, unless the role is told otherwise or rows cannot be cut (whole_rows.h).
inline constexpr int64_t kMicroBatchRows = 512;

// Rows whose logits are computed at once: bounds the memory for them, which a long prompt that
// wants every row's would otherwise set.
inline constexpr int64_t kLogitsRows = 64;

}  // namespace switchyard::model
