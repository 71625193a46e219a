#pragma once

// y = x * rsqrt(mean(x^2) + eps) * weight, row by row.
//
// Definition: the sum of squares is the 16-lane sum of docs/arithmetic-attention.md, lane
// i mod 16 taking fma(x[i], x[i], lane); scale = Rsqrt(sum / width + eps); y[i] = (x[i] * scale) *
// weight[i], in fp32, rounded to bf16 last where that is the output type.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// x: `rows` rows of `heads` vectors of `width` fp32, each vector normalised for itself. weight:
// width fp32, for all of them. y: likewise, of `output_type` (fp32, or bf16 rounded to nearest even
// when a matmul of class bf16 reads it next); an fp32 y may be x. The vectors of a row are dense.
struct RmsNormArgs {
  const float* x = nullptr;
  int64_t x_stride = 0;  // floats from row to row; 0: dense
  const float* weight = nullptr;
  float epsilon = 0;
  int64_t rows = 0;
  int64_t heads = 1;
  int64_t width = 0;
  void* y = nullptr;
  int64_t y_stride = 0;  // elements from row to row; 0: dense
  DType output_type = DType::kFloat32;

  // Where vector `index` = row * heads + head begins, in elements; `stride`: x_stride or y_stride.
  constexpr int64_t Offset(int64_t index, int64_t stride) const {
    return stride == 0 ? index * width : index / heads * stride + index % heads * width;
  }
};

void RmsNorm(const RmsNormArgs& args, ThreadPool& pool);
void RmsNormReference(const RmsNormArgs& args);

}  // namespace switchyard::kernels
