#pragma once

// How many pages the KV cache gets when nobody says: what a number of full-length sequences need,
// but no more than a share of the device's memory.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

// `memory_bytes`: of the device; `mtp`: the block for multi-token prediction has a cache, too. At
// least one page.
int64_t DefaultKvPages(const model::ModelSpec& spec, bool mtp, kernels::NumericsClass numerics,
                       int64_t memory_bytes);

}  // namespace switchyard::router
