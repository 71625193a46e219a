#include "services/model/kv_layout.h"

namespace switchyard::model {

kernels::KvLayout KvLayoutOf(const AttentionSpec& attention, kernels::NumericsClass numerics) {
  if (attention.kind == AttentionKind::kMla) {
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

int64_t KvPageBytes(const ModelSpec& spec, int64_t first_layer, int64_t last_layer,
                    kernels::NumericsClass numerics) {
  int64_t bytes = 0;
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    bytes += KvLayoutOf(spec.Block(layer).attention, numerics).page_bytes();
  }
  return bytes;
}

}  // namespace switchyard::model
