#pragma once

// What the kernel of one product is given. The same for both products of an expert FFN: the first
// reads token rows and writes h, the second reads h and writes outputs.

#include <cuda.h>

#include "kernels/base/numerics.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"
#include "kernels/expert_ffn/grouped_gemm_schedule.h"

namespace switchyard::kernels::grouped {

enum class Product {
  kFirst,  // h = act(W_gate x) * (W_up x), or act(W x)
  kDown,   // y = gate_weight * (W_down h)
};

// An expert, in memory of the device; an absent bias is null.
struct ExpertView {
  CUtensorMap first, down;
  const float *gate_bias, *up_bias, *down_bias;
  Activation activation;
  float limit;
};

// All pointers are of memory that the device reaches.
struct ProductArgs {
  const ExpertView* experts;
  const RowGroup* groups;
  int32_t group_count;
  int32_t row_tiles;
  const ExpertRow* rows;
  PackedShape weights;
  int32_t steps;  // of weights
  SharedLayout shared;
  uint16_t* h;  // a row for each of `rows`
  int64_t h_stride;
  DType output_type;
};

}  // namespace switchyard::kernels::grouped
