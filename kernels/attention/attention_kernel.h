#pragma once

// What the vector levels implement for attention, one translation unit a level.

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_plan.h"

namespace switchyard::kernels {

// State of one query, or one block's contribution to it, in memory: max, sum, then from
// kRecordValue on the weighted values, `value_dim` of them. Records are 64-byte aligned.
constexpr int64_t kRecordMax = 0;
constexpr int64_t kRecordSum = 1;
constexpr int64_t kRecordValue = 16;
[[gnu::always_inline]] constexpr int64_t RecordFloats(int64_t value_dim) {
  return kRecordValue + (value_dim + 15) / 16 * 16;
}

struct AttentionKernel {
  // Writes one block's record of each query of the tile that sees any of it; leaves the others.
  // `values`: room for the values of a block where the layout has them in the keys.
  void (*attend_block)(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                       void* values, float* records);
  // Merges a block's record into the state.
  void (*merge)(const float* block, int64_t value_dim, float* state);
  // Joins a sink to the state's sum.
  void (*merge_sink)(float sink, int64_t value_dim, float* state);
  // Divides by the sum and stores value_dim elements of `type`.
  void (*finish)(const float* state, int64_t value_dim, DType type, void* output);
};

extern const AttentionKernel kAttentionScalar;
extern const AttentionKernel kAttentionAvx2;
extern const AttentionKernel kAttentionAvx512;

}  // namespace switchyard::kernels
