#pragma once

// Where elements of the KV cache lie, and which of them a row sees (KvLayout and AttentionSequence
// in attention.h). Always inline: the vector levels use it too, each compiled in its own way, and
// constexpr, so that kernels of GPUs can call it.

#include <cstdint>

#include "kernels/attention/attention.h"

namespace switchyard::kernels {

// Offset in elements from the start of the cache to the keys of `kv_head` in a page.
[[gnu::always_inline]] constexpr int64_t KeyOffset(const KvLayout& layout, int32_t page,
                                                   int64_t kv_head) {
  return (static_cast<int64_t>(page) * layout.kv_heads + kv_head) * layout.head_elements();
}

// Likewise to its values, where they are stored apart.
[[gnu::always_inline]] constexpr int64_t ValueOffset(const KvLayout& layout, int32_t page,
                                                     int64_t kv_head) {
  return KeyOffset(layout, page, kv_head) + layout.head_dim * KvLayout::kPagePositions;
}

// First and last position that a row at `position` sees.
[[gnu::always_inline]] constexpr int64_t FirstVisible(const AttentionSequence& sequence,
                                                      int64_t position, int64_t window) {
  if (sequence.keys > 0 || window <= 0 || position < window) return 0;
  return position - window + 1;
}
[[gnu::always_inline]] constexpr int64_t LastVisible(const AttentionSequence& sequence,
                                                     int64_t position) {
  return sequence.keys > 0 ? sequence.keys - 1 : position;
}

}  // namespace switchyard::kernels
