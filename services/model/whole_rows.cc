#include "services/model/whole_rows.h"

#include <algorithm>

namespace switchyard::model {
namespace {

constexpr int64_t kMostWholeRows = 4096;

}  // namespace

WholeRows WholeRowsOf(const ModelSpec& spec) {
  WholeRows whole = {.sources = !spec.encoder_layers.empty()};
  for (const LayerSpec& layer : spec.layers) {
    const auto& router = layer.ffn.router;
    if (!router) continue;
    whole.evaluations |= router->capacity > 0 || router->capacity_factor > 0;
    whole.prompts |= router->decode_capacity_factor > 0;
  }
  return whole;
}

int64_t MicroBatchRows(const ModelSpec& spec, int64_t batch_rows) {
  if (!WholeRowsOf(spec).any()) return batch_rows;
  return std::max(batch_rows, std::min(spec.max_positions, kMostWholeRows));
}

}  // namespace switchyard::model
