#pragma once

// What the KV cache holds of a position: the one definition for who allocates it and who plans it.
// Grouped-query attention: keys and values of each KV head. Latent attention: the latent and the
// rope key once, whatever the heads.

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

kernels::KvLayout KvLayoutOf(const AttentionSpec& attention, kernels::NumericsClass numerics);

// Bytes that one page of KvLayout::kPagePositions takes over layers [first_layer, last_layer),
// indices of ModelSpec::Block.
int64_t KvPageBytes(const ModelSpec& spec, int64_t first_layer, int64_t last_layer,
                    kernels::NumericsClass numerics);

}  // namespace switchyard::model
