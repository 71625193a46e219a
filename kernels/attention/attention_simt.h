#pragma once

// Attention for GPUs: a block a row and query head. It goes through the row's blocks of positions
// in three phases each: scores (a thread a position), weights (likewise), values (a thread an
// element of the output), which it merges into a state that its threads share.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "kernels/attention/attention.h"
#include "kernels/attention/kv_page.h"
#include "kernels/attention/query_rows.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct AttentionKernel {
  static constexpr int kThreads = 128;
  static constexpr int64_t kMaxValues = 1024;  // value_elements() that the state has room for
  static constexpr int64_t kPositions = KvLayout::kBlockPositions;
  static constexpr int64_t kPage = KvLayout::kPagePositions;
  struct Totals {
    float max;
    float sum;
  };
  struct Shared {
    float score[kPositions];
    float weight[kPositions];  // 0 where not visible
    float block_max;
    Totals totals[2];  // of the state after an even and after an odd block
    float value[kMaxValues];
  };
  AttentionArgs args;  // but for the sequences, which are the host's
  const QueryRow* rows;
  const int32_t* pages;

  // One row's query head, and the positions [first, last] that it sees of a block from `begin` on.
  struct View {
    const QueryRow& row;
    int64_t head;
    int64_t kv_head;
    int64_t begin;
    int64_t first;
    int64_t last;
  };

  SWITCHYARD_SIMT int64_t Phases(int64_t block) const {
    return 3 * PositionBlocks(rows[block / args.heads]) + 1;
  }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const {
    const QueryRow& row = rows[block / args.heads];
    const int64_t head = block % args.heads;
    const int64_t step = phase / 3;
    if (step == PositionBlocks(row)) {
      Write(block, head, thread, shared.totals[(step - 1) % 2], shared);
      return;
    }
    const int64_t begin = (row.first / kPositions + step) * kPositions;
    const View view = {row,
                       head,
                       head / (args.heads / args.layout.kv_heads),
                       begin,
                       std::max(row.first, begin),
                       std::min(row.last, begin + kPositions - 1)};
    if (phase % 3 == 0) {
      const int64_t position = begin + thread;
      if (view.first <= position && position <= view.last) {
        shared.score[thread] = Score(block, view, position);
      }
    } else if (phase % 3 == 1) {
      if (thread < kPositions) Weigh(view, thread, shared);
    } else {
      Merge(view, step, thread, shared);
    }
  }

  SWITCHYARD_SIMT int64_t PositionBlocks(const QueryRow& row) const {
    return row.last / kPositions - row.first / kPositions + 1;
  }

  SWITCHYARD_SIMT float Score(int64_t block, const View& view, int64_t position) const {
    const int64_t head_dim = args.layout.head_dim;
    const float* const q = args.q + block / args.heads * args.q_stride + view.head * head_dim;
    const int64_t keys = KeyOffset(args.layout, Page(view.row, position), view.kv_head);
    float dot = 0.0f;
    for (int64_t d = 0; d < head_dim; ++d) {
      dot = Fma(q[d], Element(keys + d * kPage + position % kPage), dot);
    }
    const float score = dot * args.scale;
    if (args.relative_bias.values == nullptr) return score;
    return score + args.relative_bias.At(view.head, position - view.row.position);
  }

  SWITCHYARD_SIMT void Weigh(const View& view, int thread, Shared& shared) const {
    float max = -__builtin_inff();
    for (int64_t j = view.first - view.begin; j <= view.last - view.begin; ++j) {
      max = std::max(max, shared.score[j]);
    }
    const int64_t position = view.begin + thread;
    const bool visible = view.first <= position && position <= view.last;
    shared.weight[thread] = visible ? Exp(shared.score[thread] - max) : 0.0f;
    if (thread == 0) shared.block_max = max;
  }

  // The block into the state, whose first block it may be.
  SWITCHYARD_SIMT void Merge(const View& view, int64_t step, int thread, Shared& shared) const {
    const bool is_first = step == 0;
    const Totals state = is_first ? Totals{shared.block_max, 0.0f} : shared.totals[(step - 1) % 2];
    const float max = std::max(state.max, shared.block_max);
    const float a = Exp(state.max - max), b = Exp(shared.block_max - max);
    for (int64_t d = thread; d < args.layout.value_elements(); d += kThreads) {
      const float value = BlockValue(view, d, shared);
      shared.value[d] = is_first ? value : Fma(shared.value[d], a, value * b);
    }
    if (thread != 0) return;
    const float sum = BlockSum(shared);
    shared.totals[step % 2] =
        is_first ? Totals{shared.block_max, sum} : Totals{max, Fma(state.sum, a, sum * b)};
  }

  SWITCHYARD_SIMT float BlockValue(const View& view, int64_t d, const Shared& shared) const {
    float value = 0.0f;
    for (int64_t j = view.first; j <= view.last; ++j) {
      value = Fma(shared.weight[j - view.begin], Value(view, j, d), value);
    }
    return value;
  }

  SWITCHYARD_SIMT float BlockSum(const Shared& shared) const {
    float lanes[16] = {};
    for (int64_t j = 0; j < kPositions; ++j) lanes[j % 16] += shared.weight[j];
    return JoinLanes(lanes);
  }

  // The sink joins, and the row is done. `block` is also the place of row and head in the output.
  SWITCHYARD_SIMT void Write(int64_t block, int64_t head, int thread, Totals state,
                             const Shared& shared) const {
    float a = 1.0f;  // multiplies a value exactly
    if (args.sinks != nullptr) {
      const float max = std::max(state.max, args.sinks[head]);
      a = Exp(state.max - max);
      state.sum = Fma(state.sum, a, Exp(args.sinks[head] - max));
    }
    const int64_t value_dim = args.layout.value_elements();
    for (int64_t d = thread; d < value_dim; d += kThreads) {
      StoreElement(shared.value[d] * a / state.sum, args.output, args.output_type,
                   block * value_dim + d);
    }
  }

  SWITCHYARD_SIMT int32_t Page(const QueryRow& row, int64_t position) const {
    return pages[row.pages + position / kPage];
  }

  SWITCHYARD_SIMT float Value(const View& view, int64_t position, int64_t d) const {
    const int32_t page = Page(view.row, position);
    if (args.layout.values_in_keys) {
      return Element(KeyOffset(args.layout, page, view.kv_head) + d * kPage + position % kPage);
    }
    return Element(ValueOffset(args.layout, page, view.kv_head) +
                   position % kPage * args.layout.value_elements() + d);
  }

  SWITCHYARD_SIMT float Element(int64_t offset) const {
    return LoadElement(args.cache, args.layout.type, offset);
  }
};

template <typename Launch>
void Attention(const AttentionArgs& args, Launch& launch) {
  if (args.layout.value_elements() > AttentionKernel::kMaxValues) {
    std::fprintf(stderr,
                 "Attention: values of %lld elements, on a GPU at most %lld are supported\n",
                 static_cast<long long>(args.layout.value_elements()),
                 static_cast<long long>(AttentionKernel::kMaxValues));
    std::abort();
  }
  static thread_local QueryRows queries;
  queries.Build(args);
  if (queries.rows.empty()) return;
  const QueryRow* const rows = launch.Stage(std::span<const QueryRow>(queries.rows));
  const int32_t* const pages = launch.Stage(std::span<const int32_t>(queries.pages));
  launch(AttentionKernel{args, rows, pages},
         static_cast<int64_t>(queries.rows.size()) * args.heads);
}

}  // namespace switchyard::kernels::simt
