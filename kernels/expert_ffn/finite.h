#pragma once

// Cheap detection of overflowed rows, so that one bad row fails alone with an error.

#include <cstdint>

#include "kernels/base/numerics.h"

namespace switchyard::kernels {

// Whether none of the n elements of `row` is NaN or infinite.
bool AllFinite(const void* row, DType type, int64_t n);

}  // namespace switchyard::kernels
