#pragma once

// How weights of class bf16-sm90 lie in memory: tiles of 64 rows of W and 64 k, which Hopper's
// copying unit (TMA) takes whole and its matrix instruction multiplies (docs/gpu.md). In a tile 64
// lines of 128 bytes, one a row; tiles of the same rows follow one another by k. Rows and k behind
// the matrix's last are zero.

#include <cstdint>

#include "kernels/simt/simt.h"

namespace switchyard::kernels {

// Of W [n, k].
struct TileLayout {
  static constexpr int kRows = 64;
  static constexpr int kDepth = 64;

  int64_t n = 0;
  int64_t k = 0;

  SWITCHYARD_SIMT constexpr int64_t row_tiles() const { return (n + kRows - 1) / kRows; }
  SWITCHYARD_SIMT constexpr int64_t steps() const { return (k + kDepth - 1) / kDepth; }
  SWITCHYARD_SIMT constexpr int64_t lines() const { return row_tiles() * steps() * kRows; }
  SWITCHYARD_SIMT constexpr int64_t bytes() const {
    return lines() * kDepth * static_cast<int64_t>(sizeof(uint16_t));
  }

  // The first line of a tile.
  SWITCHYARD_SIMT constexpr int64_t line(int64_t row_tile, int64_t step) const {
    return (row_tile * steps() + step) * kRows;
  }

  // The line of a row in its tile. A thread of the instruction sums lines 8 apart; they are
  // neighbouring rows, so that it stores them together. A row stays one chain over k wherever it
  // stands: the order changes no bit. Every 16 rows keep to 16 lines.
  SWITCHYARD_SIMT static constexpr int64_t LineInTile(int64_t row) {
    const int64_t in_tile = row % kRows;
    return in_tile / 16 * 16 + in_tile % 2 * 8 + in_tile % 16 / 2;
  }

  // Counted in elements from the start of the packed matrix.
  SWITCHYARD_SIMT constexpr int64_t ElementAt(int64_t row, int64_t column) const {
    return (line(row / kRows, column / kDepth) + LineInTile(row)) * kDepth + column % kDepth;
  }
};

}  // namespace switchyard::kernels
