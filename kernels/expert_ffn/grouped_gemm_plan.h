#pragma once

// How a product is launched: tile size, stages, grid. Nothing here changes a bit of a result: an
// output is one chain over all k, whoever computes it beside what.

#include <cstdint>
#include <span>

#include "kernels/expert_ffn/grouped_gemm_layout.h"
#include "kernels/expert_ffn/grouped_gemm_schedule.h"

namespace switchyard::kernels::grouped {

// Shared memory that a block of threads may have on sm_90: 227 KiB.
inline constexpr int64_t kSharedBudget = 227 * 1024;

// The gather signals a stage when it has started this many further ones, and the consumers give one
// back when they have begun the next: with fewer than kLeastStages they would wait for each other.
inline constexpr int kGatherLag = 2;
inline constexpr int kLeastStages = kGatherLag + 2;

struct ProductPlan {
  SharedLayout shared;
  int32_t
      row_tiles;  // tiles of the weights' rows: shared.warpgroups blocks each, the last one less
  int64_t tiles;  // 0: nothing to launch
  int32_t grid;   // blocks of threads, one a multiprocessor
};

// `groups`: each with fewer than 2^31 / 128 rows in all; `multiprocessors` at least 1.
ProductPlan PlanProduct(const ProductShape& weights, std::span<const RowGroup> groups,
                        int multiprocessors);

}  // namespace switchyard::kernels::grouped
