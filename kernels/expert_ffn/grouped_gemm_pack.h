#pragma once

// Packs an expert's matrices as the grouped GEMM reads them (PackedShape, grouped_gemm_layout.h).

#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"

namespace switchyard::kernels::grouped {

// Row-major [features, k], not owned; null: absent.
struct SourceMatrix {
  const void* data = nullptr;
  DType type = DType::kBfloat16;
};

// Writes blocks [begin, end) of the packed form, whose start is `packed`. `second` is W_up of a
// pair and absent of one matrix (shape.paired). fp32 is rounded to nearest even, bf16 taken as it
// is. Several threads may pack disjoint blocks.
void PackBlocks(const PackedShape& shape, const SourceMatrix& first, const SourceMatrix& second,
                int64_t begin, int64_t end, uint16_t* packed);

}  // namespace switchyard::kernels::grouped
