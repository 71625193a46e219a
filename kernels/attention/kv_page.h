#pragma once

// Where elements of the KV cache lie (KvLayout in attention.h).

#include <algorithm>
#include <cstdint>

#include "kernels/attention/attention.h"

namespace switchyard::kernels {

// Offset in elements from the start of the cache to the keys of `kv_head` in a page; its values
// follow after head_dim * kPagePositions elements.
inline int64_t KeyOffset(const KvLayout& layout, int32_t page, int64_t kv_head) {
  return (static_cast<int64_t>(page) * layout.kv_heads + kv_head) * layout.head_elements();
}

inline int64_t ValueOffset(const KvLayout& layout, int32_t page, int64_t kv_head) {
  return KeyOffset(layout, page, kv_head) + layout.head_dim * KvLayout::kPagePositions;
}

// First position that a row at `position` sees; the last is `position` itself.
inline int64_t FirstVisible(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
}

}  // namespace switchyard::kernels
