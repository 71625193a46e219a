#pragma once

// What the kernel of one product is given. The same for both products of an expert FFN: the first
// reads token rows and writes h, the second reads h and writes outputs.

#include <cstddef>
#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/expert_ffn/expert_staging.h"
#include "kernels/expert_ffn/expert_weights.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"
#include "kernels/expert_ffn/grouped_gemm_schedule.h"

namespace switchyard::kernels::grouped {

enum class Product {
  kFirst,  // h = act(W_gate x) * (W_up x), or act(W x)
  kDown,   // y = gate_weight * (W_down h); also a matmul, y = W x
};

// What finds the tiles of one packed matrix: on a GPU a CUtensorMap (kernels/cuda/tensor_map.h).
struct WeightMap {
  uint64_t words[16];
};

// A GPU wants maps at multiples of 64 bytes. They come first in structs of such a size, which lie
// there in memory of the device; on the host's stack they need not.
inline constexpr size_t kMapAlignment = 64;

// An expert, in memory of the device; an absent bias is null.
struct ExpertView {
  WeightMap gate, up, down;
  const float *gate_bias, *up_bias, *down_bias;
  Activation activation;
  float limit;
  uint64_t padding[4];
};
static_assert(sizeof(ExpertView) % kMapAlignment == 0);

// All pointers are of memory that the device reaches.
struct ProductArgs {
  const ExpertView* experts;
  const RowGroup* groups;
  int32_t group_count;
  int32_t row_tiles;
  ProductShape weights;
  int32_t steps;  // of weights
  SharedLayout shared;
  const ExpertRowView* rows;  // null for a plain matmul
  uint16_t* h;                // a row for each of `rows`: what the first product writes
  int64_t h_stride;
  const uint16_t* x;  // what the down product reads: h; a matmul's x
  int64_t x_stride;
  // Of a matmul, in place of rows' outputs.
  float* y;
  int64_t y_stride;
  DType output_type;
  // Outputs are so aligned that two neighbours can be stored at once.
  bool stores_pairs;
};

}  // namespace switchyard::kernels::grouped
