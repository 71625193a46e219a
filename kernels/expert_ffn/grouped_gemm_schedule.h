#pragma once

// Which block of threads computes which tile: block b takes tiles b, b + grid, b + 2 grid, ... of
// one list over all experts. The list is not stored: it follows from the number of rows of each
// expert, by the same code on the host and in each role of the kernel.

#include <cstdint>

#include "kernels/expert_ffn/grouped_gemm_layout.h"

namespace switchyard::kernels::grouped {

// Consecutive rows of one expert.
struct RowGroup {
  int32_t expert;
  int32_t first_row;
  int32_t rows;  // may be 0
};

struct Tile {
  int32_t expert;
  int32_t first_row;
  int32_t tokens;    // 1 to kMostTokens
  int32_t row_tile;  // of the weights
};

SWITCHYARD_SIMT constexpr int64_t TilesOfGroup(int32_t rows, int32_t row_tiles) {
  return CeilDiv(rows, kMostTokens) * row_tiles;
}

// Walks the list forwards. In an expert the tiles of the same weights are neighbours, so that they
// run at one time and all but the first read them from the L2 cache.
class TileCursor {
 public:
  SWITCHYARD_SIMT TileCursor(const RowGroup* groups, int32_t count, int32_t row_tiles)
      : groups_(groups), count_(count), row_tiles_(row_tiles) {}

  // Tile `index` of the list; false behind its end. Indices must not descend.
  SWITCHYARD_SIMT bool Seek(int64_t index, Tile* tile) {
    for (; group_ < count_; ++group_) {
      const int64_t tiles = TilesOfGroup(groups_[group_].rows, row_tiles_);
      if (index < first_tile_ + tiles) break;
      first_tile_ += tiles;
    }
    if (group_ == count_) return false;
    const RowGroup& group = groups_[group_];
    const auto token_tiles = static_cast<int32_t>(CeilDiv(group.rows, kMostTokens));
    const auto in_group = static_cast<int32_t>(index - first_tile_);
    const int32_t first = in_group % token_tiles * kMostTokens;
    const int32_t left = group.rows - first;
    *tile = {.expert = group.expert,
             .first_row = group.first_row + first,
             .tokens = left < kMostTokens ? left : kMostTokens,
             .row_tile = in_group / token_tiles};
    return true;
  }

 private:
  const RowGroup* groups_;
  int32_t count_;
  int32_t row_tiles_;
  int32_t group_ = 0;
  int64_t first_tile_ = 0;  // of group_
};

}  // namespace switchyard::kernels::grouped
