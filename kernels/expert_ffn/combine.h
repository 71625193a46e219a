#pragma once

// Sum of a token's expert rows by the fixed binary tree over EXPERT IDS (docs/arithmetic.md,
// "Combine"): leaves are expert ids 0..experts-1 (padded to a power of two), absent leaves are
// skipped, and each inner node is rounded to the wire type. Hence the sum does not depend on which
// host returned which row, nor on their order.

#include <cstdint>
#include <span>

#include "kernels/base/numerics.h"

namespace switchyard::kernels {

struct CombineRow {
  int32_t expert;
  const void* row;  // hidden elements of the wire type
};

// output[i] = residual[i] + tree sum, fp32; `output` may be `residual`. `rows` need not be sorted;
// no expert appears twice. No rows: output = residual. At most 64 rows.
void Combine(std::span<const CombineRow> rows, DType wire_type, int64_t hidden,
             const float* residual, float* output);

}  // namespace switchyard::kernels
