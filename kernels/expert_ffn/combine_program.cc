#include "kernels/expert_ffn/combine_program.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

namespace switchyard::kernels {
namespace {

// Appends the node over expert ids [first, first + width); `sorted` are the rows in it, the first
// of them row `index` of the program.
void AppendNode(std::span<const CombineRow> sorted, int32_t index, int64_t first, int64_t width,
                CombineProgram& program) {
  if (sorted.size() == 1) {
    program.steps[program.step_count++] = {index};
    return;
  }
  const int64_t middle = first + width / 2;
  const auto right = std::partition_point(
      sorted.begin(), sorted.end(), [&](const CombineRow& row) { return row.expert < middle; });
  const auto left_size = static_cast<size_t>(right - sorted.begin());
  const auto left = sorted.first(left_size);
  const auto rest = sorted.subspan(left_size);
  if (!left.empty()) AppendNode(left, index, first, width / 2, program);
  if (!rest.empty()) {
    AppendNode(rest, index + static_cast<int32_t>(left_size), middle, width / 2, program);
  }
  if (!left.empty() && !rest.empty()) {
    program.steps[program.step_count++] = {CombineStep::kMerge};
  }
}

[[noreturn]] void RefuseRows(size_t rows) {
  std::fprintf(stderr, "Combine: %zu rows for one token, at most %d are supported\n", rows,
               static_cast<int>(kMaxCombineRows));
  std::abort();
}

}  // namespace

CombineProgram MakeCombineProgram(std::span<const CombineRow> rows) {
  CombineProgram program;
  if (rows.empty()) return program;
  if (std::ssize(rows) > kMaxCombineRows) RefuseRows(rows.size());
  CombineRow sorted[kMaxCombineRows];
  std::copy(rows.begin(), rows.end(), sorted);
  std::sort(sorted, sorted + rows.size(),
            [](const CombineRow& a, const CombineRow& b) { return a.expert < b.expert; });
  program.row_count = std::ssize(rows);
  for (size_t i = 0; i < rows.size(); ++i) program.rows[i] = sorted[i].row;
  const auto largest = static_cast<uint64_t>(sorted[rows.size() - 1].expert);
  const auto width = static_cast<int64_t>(std::bit_ceil(largest + 1));
  AppendNode({sorted, rows.size()}, 0, 0, width, program);
  return program;
}

CombineProgram MakeCombineProgram(const CombineTokensArgs& args, int64_t token) {
  CombineRow parts[kMaxCombineRows];
  size_t count = 0;
  for (int64_t i = token * args.top_k; i < (token + 1) * args.top_k; ++i) {
    if (args.experts[i] < 0 || args.results[i] == nullptr) continue;
    if (count == kMaxCombineRows) RefuseRows(count + 1);
    parts[count++] = {.expert = args.experts[i], .row = args.results[i]};
  }
  return MakeCombineProgram({parts, count});
}

}  // namespace switchyard::kernels
