#pragma once

#include <cstdint>

#include "kernels/layernorm/layernorm.h"

namespace switchyard::kernels {

// One row of `args` at one CPU level.
using LayerNormRow = void(const LayerNormArgs& args, int64_t row);

LayerNormRow LayerNormRowScalar, LayerNormRowAvx2, LayerNormRowAvx512;

}  // namespace switchyard::kernels
