#include "kernels/expert_ffn/combine.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

#include "kernels/base/cpu.h"
#include "kernels/expert_ffn/row_kernels.h"

namespace switchyard::kernels {
namespace {

// Elements that a tile covers: some microseconds of work.
constexpr int64_t kTileElements = 16384;

// The tree over expert ids as a stack program, the same for every element of the rows.
struct Program {
  CombineStep steps[2 * kMaxCombineRows];
  int64_t count = 0;
  const void* rows[kMaxCombineRows];

  // Appends the node over expert ids [first, first + width); `sorted` are the rows in it.
  void AppendNode(std::span<const CombineRow> sorted, int32_t index, int64_t first, int64_t width) {
    if (sorted.size() == 1) {
      steps[count++] = {index};
      return;
    }
    const int64_t middle = first + width / 2;
    const auto right = std::partition_point(
        sorted.begin(), sorted.end(), [&](const CombineRow& row) { return row.expert < middle; });
    const auto left_size = static_cast<size_t>(right - sorted.begin());
    const auto left = sorted.first(left_size);
    const auto rest = sorted.subspan(left_size);
    if (!left.empty()) AppendNode(left, index, first, width / 2);
    if (!rest.empty()) {
      AppendNode(rest, index + static_cast<int32_t>(left_size), middle, width / 2);
    }
    if (!left.empty() && !rest.empty()) steps[count++] = {CombineStep::kMerge};
  }
};

}  // namespace

void Combine(std::span<const CombineRow> rows, DType wire_type, int64_t hidden,
             const float* residual, float* output) {
  if (rows.empty()) {
    if (output != residual) std::copy_n(residual, hidden, output);
    return;
  }
  if (std::ssize(rows) > kMaxCombineRows) {
    std::fprintf(stderr, "Combine: %zu rows for one token, at most %d are supported\n", rows.size(),
                 static_cast<int>(kMaxCombineRows));
    std::abort();
  }
  CombineRow sorted[kMaxCombineRows];
  std::copy(rows.begin(), rows.end(), sorted);
  std::sort(sorted, sorted + rows.size(),
            [](const CombineRow& a, const CombineRow& b) { return a.expert < b.expert; });
  Program program;
  for (size_t i = 0; i < rows.size(); ++i) program.rows[i] = sorted[i].row;
  const auto largest = static_cast<uint64_t>(sorted[rows.size() - 1].expert);
  program.AppendNode({sorted, rows.size()}, 0, 0, static_cast<int64_t>(std::bit_ceil(largest + 1)));
  RowKernelsFor(ActiveCpuLevel())
      .combine(program.steps, program.count, program.rows, wire_type, hidden, residual, output);
}

void CombineTokens(const CombineTokensArgs& args, ThreadPool& pool) {
  const int64_t per_tile = std::max<int64_t>(1, kTileElements / (args.hidden * args.top_k));
  pool.ParallelFor((args.rows + per_tile - 1) / per_tile, [&](int64_t tile, int) {
    const int64_t end = std::min(args.rows, (tile + 1) * per_tile);
    for (int64_t row = tile * per_tile; row < end; ++row) {
      CombineRow parts[kMaxCombineRows];
      size_t count = 0;
      for (int64_t i = row * args.top_k; i < (row + 1) * args.top_k; ++i) {
        if (args.experts[i] < 0 || args.results[i] == nullptr) continue;
        parts[count++] = {.expert = args.experts[i], .row = args.results[i]};
      }
      float* const output = args.output + row * args.hidden;
      Combine({parts, count}, args.wire_type, args.hidden, output, output);
    }
  });
}

}  // namespace switchyard::kernels
