#pragma once

// Sum of a token's expert rows by the fixed binary tree over EXPERT IDS (docs/arithmetic.md,
// "Combine"): leaves are expert ids 0..experts-1 (padded to a power of two), absent leaves are
// skipped, and each inner node is rounded to the wire type. Hence the sum does not depend on which
// host returned which row, nor on their order.

#include <cstdint>
#include <span>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

inline constexpr int64_t kMaxCombineRows = 64;

struct CombineRow {
  int32_t expert;
  const void* row;  // hidden elements of the wire type
};

// output[i] = residual[i] + tree sum, fp32; `output` may be `residual`. `rows` need not be sorted;
// no expert appears twice. No rows: output = residual. At most kMaxCombineRows rows.
void Combine(std::span<const CombineRow> rows, DType wire_type, int64_t hidden,
             const float* residual, float* output);

// The same for many tokens: assignment row * top_k + i belongs to expert experts[...] and its row
// is results[...], `hidden` elements of the wire type; without an expert (-1) or a row (null) it
// counts for nothing. At most kMaxCombineRows experts a token. `output`: [rows][hidden], the
// residual before and the sum after.
struct CombineTokensArgs {
  int64_t rows = 0;
  int64_t top_k = 0;
  const int32_t* experts = nullptr;
  const void* const* results = nullptr;
  DType wire_type = DType::kFloat32;
  int64_t hidden = 0;
  float* output = nullptr;
};
void CombineTokens(const CombineTokensArgs& args, ThreadPool& pool);

}  // namespace switchyard::kernels
