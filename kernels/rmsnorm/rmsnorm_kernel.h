#pragma once

#include <cstdint>

#include "kernels/base/numerics.h"

namespace switchyard::kernels {

// One row of RmsNormArgs at one CPU level.
using RmsNormRow = void(const float* x, const float* weight, int64_t width, float epsilon,
                        DType output_type, void* y);

RmsNormRow RmsNormRowScalar, RmsNormRowAvx2, RmsNormRowAvx512;

}  // namespace switchyard::kernels
