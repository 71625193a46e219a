#include "services/model/families/sparse_layers.h"

#include <algorithm>
#include <vector>

#include "services/base/status_macros.h"

namespace switchyard::model {

absl::Status SetQwenLayers(const JsonFields& config, int64_t layers, const AttentionSpec& attention,
                           const FfnSpec& moe, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t step, config.Integer("decoder_sparse_step", 1, kMaxLayers, 1));
  std::vector<int64_t> dense_only;
  if (config.Has("mlp_only_layers")) {
    ASSIGN_OR_RETURN(dense_only, config.Integers("mlp_only_layers", 0, layers - 1));
  }
  const auto dense = [&](int64_t layer) {
    return (layer + 1) % step != 0 ||
           std::find(dense_only.begin(), dense_only.end(), layer) != dense_only.end();
  };
  FfnSpec dense_ffn;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (dense(layer) && dense_ffn.intermediate == 0) {
      ASSIGN_OR_RETURN(dense_ffn, ParseDense(config));
    }
    spec.layers.push_back({.attention = attention, .ffn = dense(layer) ? dense_ffn : moe});
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ParseQwenWindow(const JsonFields& config) {
  ASSIGN_OR_RETURN(const bool sliding, config.Bool("use_sliding_window", false));
  if (!sliding || config.IsNull("sliding_window")) return 0;
  return config.Integer("sliding_window", 1, kMaxPositions, 4096);
}

}  // namespace switchyard::model
