#pragma once

// How many parameters a model has, counted over the very tensors that its family's table names
// (services/model/tensor_names.h), so that the sum is that of a checkpoint's tensors.

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "services/model/model_spec.h"

namespace switchyard::plan {

// Of one layer. What it does not have is 0.
struct LayerParameters {
  int64_t attention = 0;  // with cross attention, biases, norms of q and k, tables of positions
  int64_t norms = 0;
  int64_t dense = 0;   // the network of a layer without a router
  int64_t router = 0;  // with its biases
  int64_t shared = 0;  // experts that every token visits, with their gate
  int64_t expert = 0;  // one routed expert
  int64_t experts = 0;
  int64_t top_k = 0;

  int64_t everyones() const { return attention + norms + dense + router + shared; }
  int64_t total() const { return everyones() + experts * expert; }
  int64_t active() const { return everyones() + top_k * expert; }

  bool operator==(const LayerParameters&) const = default;
};

// The block for multi-token prediction, which published totals leave out.
struct MtpParameters {
  LayerParameters layer;
  int64_t rest = 0;    // its own norms and the projection of embedding and hidden state
  int64_t copies = 0;  // of embedding and head, which checkpoints store once more

  int64_t total() const { return layer.total() + rest + copies; }
};

struct ModelParameters {
  int64_t embedding = 0;  // the head too where they are tied
  int64_t positions = 0;  // learned ones
  int64_t head = 0;       // with its bias
  int64_t final_norms = 0;
  bool tied = false;
  std::vector<LayerParameters> layers;  // an encoder's after the decoder's
  std::optional<MtpParameters> mtp;

  // Without the block for multi-token prediction.
  int64_t total() const;
  int64_t routed_experts() const;

  // What one token's pass reads: everything but the experts that it is not sent to. Of an
  // encoder-decoder both stacks.
  int64_t active() const;

  // The same without the input embedding, of which a token reads one row (unless it is the head as
  // well). Some publish this number, some the other.
  int64_t active_without_embedding() const;

  // Elements of all tensors of the checkpoint.
  int64_t stored() const { return total() + (mtp ? mtp->total() : 0); }
};

// `spec` comes from ParseConfig. An error for sizes that no model has (above 2^53 parameters).
absl::StatusOr<ModelParameters> CountParameters(const model::ModelSpec& spec);

}  // namespace switchyard::plan
