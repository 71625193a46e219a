#pragma once

// StoreKv for GPUs: a block a row, its threads along the row's keys and then its values.

#include <span>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/kv_page.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

// Where a row goes.
struct CacheSlot {
  int32_t page = 0;
  int32_t slot = 0;  // in the page
};

struct StoreKvKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  StoreKvArgs args;  // but for the sequences, which are the host's
  const CacheSlot* slots;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const KvLayout& layout = args.layout;
    const CacheSlot to = slots[block];
    const float* const k = args.k + block * args.row_stride;
    for (int64_t i = thread; i < layout.kv_heads * layout.head_dim; i += kThreads) {
      const int64_t keys = KeyOffset(layout, to.page, i / layout.head_dim);
      const int64_t d = i % layout.head_dim;
      StoreElement(k[i], args.cache, layout.type, keys + d * KvLayout::kPagePositions + to.slot);
    }
    if (layout.values_in_keys) return;
    const float* const v = args.v + block * args.row_stride;
    const int64_t value_dim = layout.value_elements();
    for (int64_t i = thread; i < layout.kv_heads * value_dim; i += kThreads) {
      const int64_t values = ValueOffset(layout, to.page, i / value_dim);
      StoreElement(v[i], args.cache, layout.type, values + to.slot * value_dim + i % value_dim);
    }
  }
};

template <typename Launch>
void StoreKv(const StoreKvArgs& args, Launch& launch) {
  static thread_local std::vector<CacheSlot> slots;
  slots.clear();
  for (const AttentionSequence& sequence : args.sequences) {
    for (int64_t r = 0; r < sequence.rows; ++r) {
      const int64_t position = sequence.first_position + r;
      slots.push_back({.page = sequence.pages[position / KvLayout::kPagePositions],
                       .slot = static_cast<int32_t>(position % KvLayout::kPagePositions)});
    }
  }
  if (slots.empty()) return;
  const CacheSlot* const staged = launch.Stage(std::span<const CacheSlot>(slots));
  launch(StoreKvKernel{args, staged}, static_cast<int64_t>(slots.size()));
}

}  // namespace switchyard::kernels::simt
