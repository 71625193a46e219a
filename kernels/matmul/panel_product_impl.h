#pragma once

// Included by panel_product_<level>.cc, compiled with the options of the level.

#include "kernels/base/simd.h"
#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

// How one line of a panel (64 bytes: 16 words) is multiplied into the sums. X is the type of a row.

struct Fp32Lines {
  using X = float;
  static constexpr int64_t kDepth = 1;  // k per line

  template <int kRows>
  SWITCHYARD_INLINE static void Step(const X* const* x, int64_t k, const char* line,
                                     F32x16* sums) {
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
  SWITCHYARD_INLINE static void Step(const X* const* x, int64_t k, const char* line,
                                     F32x16* sums) {
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

// sums[segment][row]: `kSegments` consecutive segments of `length` k side by side, because one chain
// of dependent fma cannot keep up with memory when there are few rows.
template <typename Lines, int kRows, int kSegments>
SWITCHYARD_INLINE void SumSegments(const typename Lines::X* const* rows, const char* panel,
                                   int64_t first, int64_t length, F32x16 (*sums)[kRows]) {
  constexpr int64_t kLine = 64;
#pragma GCC unroll 8
  for (int segment = 0; segment < kSegments; ++segment) {
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) sums[segment][row] = F32x16(0.0f);
  }
  const int64_t segment_bytes = length / Lines::kDepth * kLine;
  const char* line = panel + first / Lines::kDepth * kLine;
  const typename Lines::X* x[kRows];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) x[row] = rows[row];
  for (int64_t k = first; k < first + length; k += Lines::kDepth, line += kLine) {
#pragma GCC unroll 8
    for (int segment = 0; segment < kSegments; ++segment) {
      Lines::template Step<kRows>(x, k + segment * length, line + segment * segment_bytes,
                                  sums[segment]);
    }
  }
}

// Sums of 2^level neighbouring segments that wait for their right neighbour, as in a binary counter.
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

template <typename Lines, int kRows, int kSegments>
void SumBlock(const void* const* rows, const char* panel, int64_t first, int64_t length,
              int64_t segment, int64_t row, PendingSums* pending) {
  F32x16 sums[kSegments][kRows];
  SumSegments<Lines, kRows, kSegments>(
      reinterpret_cast<const typename Lines::X* const*>(rows + row), panel, first, length, sums);
#pragma GCC unroll 8
  for (int s = 0; s < kSegments; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) pending->Push(segment + s, row + r, sums[s][r]);
  }
}

// Rows [row, row + count) with count < 2 * kRows, without a remainder loop at run time.
template <typename Lines, int kRows>
SWITCHYARD_INLINE void SumRemainder(const void* const* rows, int64_t count, const char* panel,
                                    int64_t first, int64_t length, int64_t segment, int64_t row,
                                    PendingSums* pending) {
  if constexpr (kRows > 0) {
    if (count == kRows) {
      SumBlock<Lines, kRows, 1>(rows, panel, first, length, segment, row, pending);
    } else {
      SumRemainder<Lines, kRows - 1>(rows, count, panel, first, length, segment, row, pending);
    }
  }
}

template <typename Lines, int kRows>
void PanelProduct(const void* const* rows, int64_t count, const void* panel_data, int64_t k,
                  float* out) {
  const char* panel = static_cast<const char*>(panel_data);
  PendingSums pending;
  const int64_t length = SegmentLength(k);
  const int64_t padded_k = (k + Lines::kDepth - 1) / Lines::kDepth * Lines::kDepth;
  int64_t segment = 0;
  int64_t first = 0;
  if (count == 1) {
    for (; first + 4 * length <= padded_k; first += 4 * length, segment += 4) {
      SumBlock<Lines, 1, 4>(rows, panel, first, length, segment, 0, &pending);
    }
  } else if (count <= 2) {
    for (; first + 2 * length <= padded_k; first += 2 * length, segment += 2) {
      SumBlock<Lines, 2, 2>(rows, panel, first, length, segment, 0, &pending);
    }
  }
  for (; first < padded_k; first += length, ++segment) {
    const int64_t rest = padded_k - first < length ? padded_k - first : length;
    int64_t row = 0;
    for (; row + kRows <= count; row += kRows) {
      SumBlock<Lines, kRows, 1>(rows, panel, first, rest, segment, row, &pending);
    }
    SumRemainder<Lines, kRows - 1>(rows, count - row, panel, first, rest, segment, row, &pending);
  }
  for (int64_t row = 0; row < count; ++row) Store(pending.Join(segment, row), out + row * 16);
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
