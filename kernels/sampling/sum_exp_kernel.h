#pragma once

#include <cstdint>

namespace switchyard::kernels {

// One block of SumExp at one CPU level.
using SumExpBlock = float(const float* values, int64_t count, float max, float floor);

SumExpBlock SumExpBlockScalar, SumExpBlockAvx2, SumExpBlockAvx512;

}  // namespace switchyard::kernels
