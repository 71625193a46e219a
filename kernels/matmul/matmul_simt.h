#pragma once

// Matmul for GPUs: a thread an output, a block 128 neighbouring outputs of a row. Packed weights
// are read where they lie, 16 neighbouring words by half a warp; the row is the same for all.

#include "kernels/matmul/matmul.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

// A PackedMatrix as a kernel sees it; a word is one k (class fp32) or a pair of k of an output.
struct MatrixView {
  const uint32_t* words = nullptr;
  int64_t panel_words = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType type = DType::kFloat32;  // of the rows that it multiplies
};

inline MatrixView View(const PackedMatrix& w) {
  return {.words = static_cast<const uint32_t*>(w.panel(0)),
          .panel_words = w.panel_bytes() / static_cast<int64_t>(sizeof(uint32_t)),
          .n = w.n(),
          .k = w.k(),
          .type = WireType(w.numerics())};
}

// The sum over k in [begin, end); `words` are the output's, a panel's width apart.
SWITCHYARD_SIMT float SegmentFp32(const uint32_t* words, const float* x, int64_t begin,
                                  int64_t end) {
  float sum = 0.0f;
  for (int64_t k = begin; k < end; ++k) {
    sum = Fma(x[k], std::bit_cast<float>(words[k * PackedMatrix::kPanel]), sum);
  }
  return sum;
}

SWITCHYARD_SIMT float SegmentBf16(const uint32_t* words, const uint16_t* x, int64_t begin,
                                  int64_t end) {
  float sum = 0.0f;
  for (int64_t k = begin; k < end; k += 2) {
    const uint32_t word = words[k / 2 * PackedMatrix::kPanel];
    const float odd_x = k + 1 < end ? Bf16ToFloat(x[k + 1]) : 0.0f;
    sum = Fma(odd_x, Bf16ToFloat(static_cast<uint16_t>(word >> 16)), sum);
    sum = Fma(Bf16ToFloat(x[k]), Bf16ToFloat(static_cast<uint16_t>(word)), sum);
  }
  return sum;
}

// Output n of the product of w and a row of elements of w.type.
SWITCHYARD_SIMT float ProductWithRow(const MatrixView& w, const void* x, int64_t n) {
  const uint32_t* const words =
      w.words + n / PackedMatrix::kPanel * w.panel_words + n % PackedMatrix::kPanel;
  const int64_t length = SegmentLength(w.k);
  float sums[8] = {};
  for (int segment = 0; segment < 8; ++segment) {
    const int64_t begin = segment * length;
    const int64_t end = begin + length < w.k ? begin + length : w.k;
    if (begin >= end) continue;
    sums[segment] = w.type == DType::kFloat32
                        ? SegmentFp32(words, static_cast<const float*>(x), begin, end)
                        : SegmentBf16(words, static_cast<const uint16_t*>(x), begin, end);
  }
  for (int width = 1; width < 8; width *= 2) {
    for (int left = 0; left < 8; left += 2 * width) {
      const bool right_exists = (left + width) * length < w.k;
      if (right_exists) sums[left] = sums[left] + sums[left + width];
    }
  }
  return sums[0];
}

struct MatmulKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  const void* x;
  int64_t x_stride;
  int64_t m;
  MatrixView w;
  float* y;
  int64_t y_stride;

  // Neighbouring blocks read the same weights.
  constexpr int64_t Blocks() const { return (w.n + kThreads - 1) / kThreads * m; }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t row = block % m;
    const int64_t n = block / m * kThreads + thread;
    if (n >= w.n) return;
    const int64_t row_bytes = x_stride * static_cast<int64_t>(SizeOf(w.type));
    y[row * y_stride + n] = ProductWithRow(w, static_cast<const char*>(x) + row * row_bytes, n);
  }
};

template <typename Launch>
void Matmul(const MatmulArgs& args, Launch& launch) {
  const MatmulKernel kernel{.x = args.x,
                            .x_stride = args.x_stride,
                            .m = args.m,
                            .w = View(*args.w),
                            .y = args.y,
                            .y_stride = args.y_stride};
  launch(kernel, kernel.Blocks());
}

}  // namespace switchyard::kernels::simt
