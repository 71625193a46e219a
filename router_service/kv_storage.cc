#include "router_service/kv_storage.h"

namespace switchyard::router {
namespace {

kernels::KvLayout LayoutOf(const model::LayerSpec& layer, kernels::NumericsClass numerics) {
  const model::AttentionSpec& attention = layer.attention;
  if (attention.kind == model::AttentionKind::kMla) {
    return {.type = kernels::WireType(numerics),
            .kv_heads = 1,
            .head_dim = attention.mla.cache_width(),
            .value_dim = attention.mla.kv_lora_rank,
            .values_in_keys = true};
  }
  return {.type = kernels::WireType(numerics),
          .kv_heads = attention.kv_heads,
          .head_dim = attention.head_dim,
          .value_dim = attention.value_dim};
}

}  // namespace

int64_t KvPageBytes(const model::ModelSpec& spec, int64_t first_layer, int64_t last_layer,
                    kernels::NumericsClass numerics) {
  int64_t bytes = 0;
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    bytes += LayoutOf(spec.layers[layer], numerics).page_bytes();
  }
  return bytes;
}

KvStorage::KvStorage(const model::ModelSpec& spec, int64_t first_layer, int64_t last_layer,
                     kernels::NumericsClass numerics, int64_t pages)
    : pages_(pages), memory_(pages * KvPageBytes(spec, first_layer, last_layer, numerics)) {
  int64_t offset = 0;
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    layouts_.push_back(LayoutOf(spec.layers[layer], numerics));
    offsets_.push_back(offset);
    offset += pages * layouts_.back().page_bytes();
  }
}

}  // namespace switchyard::router
