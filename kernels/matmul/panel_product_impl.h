#pragma once

// Included by panel_product_<level>.cc, compiled with the options of the level.

#include "kernels/base/simd.h"
#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

constexpr int64_t kLineBytes = 64;

// How one line of a panel (64 bytes: 16 words) is multiplied into the sums. X is the type of a row.

struct Fp32Lines {
  using X = float;
  static constexpr int64_t kDepth = 1;  // k per line

  template <int kRows>
  SWITCHYARD_INLINE static void Step(const X* const* x, int64_t k, const char* line, F32x16* sums) {
    const F32x16 w = Load(reinterpret_cast<const float*>(line));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) MultiplyAdd(F32x16(x[row][k]), w, sums[row]);
  }
};

// bf16 weights, widened in registers; rows widened beforehand.
struct WidenedBf16Lines {
  using X = float;
  static constexpr int64_t kDepth = 2;

  template <int kRows>
  SWITCHYARD_INLINE static void Step(const X* const* x, int64_t k, const char* line, F32x16* sums) {
    const F32x16 odd = UpperBf16(LoadInt(line));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) MultiplyAdd(F32x16(x[row][k + 1]), odd, sums[row]);
    // Load the line again instead of keeping it: the sums need the registers.
    asm("" : "+r"(line));
    const F32x16 even = LowerBf16(LoadInt(line));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) MultiplyAdd(F32x16(x[row][k]), even, sums[row]);
  }
};

// sums[segment][row]: `kSegments` consecutive segments of `length` k side by side, because one
// chain of dependent fma cannot keep up with memory when there are few rows. With kPrefetch the
// weights that follow them are asked for on the way.
template <typename Lines, int kRows, int kSegments, bool kPrefetch>
SWITCHYARD_INLINE void SumSegments(const typename Lines::X* const* rows, const char* panel,
                                   int64_t first, int64_t length, F32x16 (*sums)[kRows]) {
#pragma GCC unroll 8
  for (int segment = 0; segment < kSegments; ++segment) {
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) sums[segment][row] = F32x16(0.0f);
  }
  const int64_t segment_bytes = length / Lines::kDepth * kLineBytes;
  const char* line = panel + first / Lines::kDepth * kLineBytes;
  const typename Lines::X* x[kRows];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) x[row] = rows[row];
  for (int64_t k = first; k < first + length; k += Lines::kDepth, line += kLineBytes) {
#pragma GCC unroll 8
    for (int segment = 0; segment < kSegments; ++segment) {
      if constexpr (kPrefetch) {
        __builtin_prefetch(line + (segment + kSegments) * segment_bytes, 0, 2);
      }
      Lines::template Step<kRows>(x, k + segment * length, line + segment * segment_bytes,
                                  sums[segment]);
    }
  }
}

// Sums of 2^level neighbouring segments that wait for their right neighbour, as in a binary
// counter.
struct PendingSums {
  alignas(64) float level[4][PanelKernel::kMaxRows * 16];

  // Adds the sum of segment `segment` of row `row`.
  SWITCHYARD_INLINE void Push(int64_t segment, int64_t row, F32x16 sum) {
    int depth = 0;
    for (; (segment >> depth) & 1; ++depth) sum = Load(&level[depth][row * 16]) + sum;
    Store(sum, &level[depth][row * 16]);
  }

  // The joined sum of `segments` segments.
  SWITCHYARD_INLINE F32x16 Join(int64_t segments, int64_t row) const {
    int depth = 0;
    while (((segments >> depth) & 1) == 0) ++depth;
    F32x16 sum = Load(&level[depth][row * 16]);
    for (++depth; (segments >> depth) != 0; ++depth) {
      if ((segments >> depth) & 1) sum = Load(&level[depth][row * 16]) + sum;
    }
    return sum;
  }
};

// Some segments of a panel, and where in the order of segments they are.
struct Piece {
  const char* panel;
  int64_t first, length;  // k
  int64_t segment;        // index of the first
};

template <typename Lines, int kRows, int kSegments, bool kPrefetch>
void SumBlock(const void* const* rows, int64_t row, const Piece& piece, PendingSums* pending) {
  F32x16 sums[kSegments][kRows];
  SumSegments<Lines, kRows, kSegments, kPrefetch>(
      reinterpret_cast<const typename Lines::X* const*>(rows + row), piece.panel, piece.first,
      piece.length, sums);
#pragma GCC unroll 8
  for (int s = 0; s < kSegments; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) pending->Push(piece.segment + s, row + r, sums[s][r]);
  }
}

// SumBlock for a number of rows that is known only now, 1 <= count <= kRows.
template <typename Lines, int kRows, bool kPrefetch>
SWITCHYARD_INLINE void SumRows(const void* const* rows, int64_t row, int64_t count,
                               const Piece& piece, PendingSums* pending) {
  if constexpr (kRows > 1) {
    if (count < kRows) {
      return SumRows<Lines, kRows - 1, kPrefetch>(rows, row, count, piece, pending);
    }
  }
  SumBlock<Lines, kRows, 1, kPrefetch>(rows, row, piece, pending);
}

// One segment for all rows, in blocks of nearly the same size of at most kRows. When several blocks
// pass over the segment, each asks for its share of the next one, so that memory is read at an even
// pace instead of in bursts.
template <typename Lines, int kRows>
SWITCHYARD_INLINE void SumAllRows(const void* const* rows, int64_t count, const Piece& piece,
                                  PendingSums* pending) {
  if (count <= kRows) return SumRows<Lines, kRows, true>(rows, 0, count, piece, pending);
  const int64_t blocks = (count + kRows - 1) / kRows;
  const int64_t lines = piece.length / Lines::kDepth;
  const char* next = piece.panel + (piece.first / Lines::kDepth + lines) * kLineBytes;
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t i = lines * block / blocks; i < lines * (block + 1) / blocks; ++i) {
      __builtin_prefetch(next + i * kLineBytes, 0, 2);
    }
    const int64_t row = count * block / blocks;
    const int64_t end = count * (block + 1) / blocks;
    SumRows<Lines, kRows, false>(rows, row, end - row, piece, pending);
  }
}

template <typename Lines, int kRows>
void PanelProduct(const void* const* rows, int64_t count, const void* panel, int64_t k,
                  float* out) {
  PendingSums pending;
  const int64_t length = SegmentLength(k);
  const int64_t padded_k = (k + Lines::kDepth - 1) / Lines::kDepth * Lines::kDepth;
  Piece piece = {static_cast<const char*>(panel), 0, length, 0};
  const auto run_side_by_side = [&](int segments, auto sum_block) {
    while (piece.first + segments * length <= padded_k) {
      sum_block(rows, 0, piece, &pending);
      piece.first += segments * length;
      piece.segment += segments;
    }
  };
  if (count == 1) run_side_by_side(4, SumBlock<Lines, 1, 4, true>);
  if (count == 2) run_side_by_side(2, SumBlock<Lines, 2, 2, true>);
  for (; piece.first < padded_k; piece.first += length, ++piece.segment) {
    piece.length = padded_k - piece.first < length ? padded_k - piece.first : length;
    SumAllRows<Lines, kRows>(rows, count, piece, &pending);
  }
  for (int64_t row = 0; row < count; ++row) Store(pending.Join(piece.segment, row), out + row * 16);
}

// Copies a row with zeros behind it.
template <typename T>
void CopyRow(const void* wire_row, int64_t k, void* row) {
  const T* from = static_cast<const T*>(wire_row);
  T* to = static_cast<T*>(row);
  for (int64_t i = 0; i < k; ++i) to[i] = from[i];
  for (int64_t i = k; i < PanelKernel::RowStride(k); ++i) to[i] = T{};
}

inline void WidenRow(const void* wire_row, int64_t k, void* row) {
  const uint16_t* from = static_cast<const uint16_t*>(wire_row);
  float* to = static_cast<float*>(row);
  int64_t i = 0;
  for (; i + 16 <= k; i += 16) Store(LoadBf16(from + i), to + i);
  for (; i < k; ++i) to[i] = Bf16ToFloat(from[i]);
  for (; i < PanelKernel::RowStride(k); ++i) to[i] = 0.0f;
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
