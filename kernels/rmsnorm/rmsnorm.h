#pragma once

// y = x * rsqrt(mean(x^2) + eps) * weight, row by row.
//
// Definition: the sum of squares is the 16-lane sum of docs/arithmetic.md ("Other reductions"),
// lane i mod 16 taking fma(x[i], x[i], lane); scale = Rsqrt(sum / width + eps); y[i] = (x[i] *
// scale) * weight[i], in fp32, rounded to bf16 last where that is the output type.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// x: rows x width fp32. weight: width fp32. y: rows x width of `output_type` (fp32, or bf16 rounded
// to nearest even when a matmul of class bf16 reads it next). Rows are dense.
struct RmsNormArgs {
  const float* x = nullptr;
  const float* weight = nullptr;
  float epsilon = 0;
  int64_t rows = 0;
  int64_t width = 0;
  void* y = nullptr;
  DType output_type = DType::kFloat32;
};

void RmsNorm(const RmsNormArgs& args, ThreadPool& pool);
void RmsNormReference(const RmsNormArgs& args);

}  // namespace switchyard::kernels
