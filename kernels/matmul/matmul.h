#pragma once

// y = x W^T, the one reduction over K of the whole system: projections, experts, LM head, router.
// The order of summation is docs/arithmetic.md ("Matmul"): at most 8 segments of
// L = 32 * ceil(K / 256), ascending inside a segment from 0, segments joined by a fixed tree.
// A row's result does not depend on the other rows, on the thread count or on the CPU level.

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "kernels/matmul/tile_layout.h"

namespace switchyard::kernels {

// Weights of a linear layer, W [n, k] row-major on disk, packed for the vector units: panels of 16
// outputs, inside a panel k ascending (class fp32: one k of 16 outputs; class bf16: a pair of k of
// 16 outputs), 64-byte aligned, tail outputs and an odd last k padded with zero. Class bf16-sm90
// has no panels but tiles (tile_layout.h). Movable; after packing, all const methods are safe from
// any thread.
class PackedMatrix {
 public:
  static constexpr int64_t kPanel = 16;

  PackedMatrix() = default;
  PackedMatrix(NumericsClass numerics, int64_t n, int64_t k);

  // Memory that a packed W [n, k] takes, padding included.
  static int64_t BytesOf(NumericsClass numerics, int64_t n, int64_t k);

  // Packs rows [first_row, first_row + rows) from `source` [rows, k], row-major, of type `type`.
  // fp32 sources are rounded to nearest even where weights are bf16, bf16 ones widen exactly in
  // fp32.
  // Disjoint panel-aligned ranges (first_row % kPanel == 0) may be packed by several threads.
  void PackRows(int64_t first_row, int64_t rows, const void* source, DType type);

  // W[row, column] as the kernel sees it: for references and tests.
  float At(int64_t row, int64_t column) const;

  NumericsClass numerics() const { return numerics_; }
  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  int64_t panels() const { return (n_ + kPanel - 1) / kPanel; }
  int64_t panel_bytes() const;
  const void* panel(int64_t index) const;
  TileLayout tiles() const { return {.n = n_, .k = k_}; }
  const void* data() const { return buffer_.data(); }
  size_t bytes() const { return buffer_.size(); }

 private:
  void PackTiles(int64_t first_row, int64_t rows, const void* source, DType type);

  NumericsClass numerics_ = NumericsClass::kFp32;
  int64_t n_ = 0;
  int64_t k_ = 0;
  Buffer buffer_;
};

// Length of a segment of the K reduction: 32 * ceil(k / 256).
constexpr int64_t SegmentLength(int64_t k) { return 32 * ((k + 255) / 256); }

// x: m rows of k elements of type WireType(w.numerics()), `x_stride` elements apart.
// y: m rows of n floats, `y_stride` floats apart; overwritten.
struct MatmulArgs {
  const void* x = nullptr;
  int64_t x_stride = 0;
  int64_t m = 0;
  const PackedMatrix* w = nullptr;
  float* y = nullptr;
  int64_t y_stride = 0;
};

void Matmul(const MatmulArgs& args, ThreadPool& pool);

// The scalar truth, single-threaded, straight from the definition.
void MatmulReference(const MatmulArgs& args);

}  // namespace switchyard::kernels
