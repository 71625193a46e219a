#include <cmath>

#include "kernels/base/bf16.h"
#include "kernels/matmul/matmul.h"

namespace switchyard::kernels {
namespace {

// Sum over one segment [begin, end), from 0, ascending. In class bf16 the odd element of a pair is
// added first; an odd last k is paired with zeros.
float SegmentFp32(const float* x, const PackedMatrix& w, int64_t row, int64_t begin, int64_t end) {
  float sum = 0.0f;
  for (int64_t k = begin; k < end; ++k) sum = std::fma(x[k], w.At(row, k), sum);
  return sum;
}

float SegmentBf16(const uint16_t* x, const PackedMatrix& w, int64_t row, int64_t begin,
                  int64_t end) {
  float sum = 0.0f;
  for (int64_t k = begin; k < end; k += 2) {
    const bool paired = k + 1 < end;
    const float odd_x = paired ? Bf16ToFloat(x[k + 1]) : 0.0f;
    const float odd_w = paired ? w.At(row, k + 1) : 0.0f;
    sum = std::fma(odd_x, odd_w, sum);
    sum = std::fma(Bf16ToFloat(x[k]), w.At(row, k), sum);
  }
  return sum;
}

// Segments [first, first + width), width a power of two, of which `count` in all exist.
float JoinSegments(const float* sums, int count, int first, int width) {
  if (width == 1) return sums[first];
  const int half = width / 2;
  const float left = JoinSegments(sums, count, first, half);
  if (first + half >= count) return left;
  return left + JoinSegments(sums, count, first + half, half);
}

}  // namespace

void MatmulReference(const MatmulArgs& args) {
  SetComputeThreadFloatMode();
  const PackedMatrix& w = *args.w;
  const int64_t k = w.k();
  const int64_t length = SegmentLength(k);
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t row = 0; row < w.n(); ++row) {
      float sums[8] = {};
      int count = 0;
      for (int64_t begin = 0; begin < k; begin += length) {
        const int64_t end = begin + length < k ? begin + length : k;
        sums[count++] = w.numerics() == NumericsClass::kFp32
                            ? SegmentFp32(static_cast<const float*>(args.x) + i * args.x_stride, w,
                                          row, begin, end)
                            : SegmentBf16(static_cast<const uint16_t*>(args.x) + i * args.x_stride,
                                          w, row, begin, end);
      }
      args.y[i * args.y_stride + row] = JoinSegments(sums, count, 0, 8);
    }
  }
}

}  // namespace switchyard::kernels
