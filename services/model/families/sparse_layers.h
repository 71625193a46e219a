#pragma once

#include "absl/status/status.h"
#include "services/model/families/parse.h"

namespace switchyard::model {

// Layers of Qwen: layer i has experts iff it is not in mlp_only_layers and decoder_sparse_step
// divides i + 1. `attention` is every layer's.
absl::Status SetQwenLayers(const JsonFields& config, int64_t layers, const AttentionSpec& attention,
                           const FfnSpec& moe, ModelSpec& spec);

// use_sliding_window and sliding_window; 0 when it is off, whatever sliding_window says.
absl::StatusOr<int64_t> ParseQwenWindow(const JsonFields& config);

}  // namespace switchyard::model
