#pragma once

// y = (x - mean(x)) * rsqrt(variance(x) + eps) * weight + bias, row by row, with the biased
// variance: torch's LayerNorm.
//
// Definition: mean = sum / width, the sum being the 16-lane sum of docs/arithmetic-attention.md;
// d[i] = x[i] - mean; variance = (16-lane sum of squares of d, lane i mod 16 taking
// fma(d[i], d[i], lane)) / width; scale = Rsqrt(variance + eps); y[i] = (d[i] * scale) * weight[i]
// + bias[i], each operation rounded, in fp32, rounded to bf16 last where that is the output type.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// x: rows x width fp32. weight, bias: width fp32. y: rows x width of `output_type` (fp32, or bf16
// rounded to nearest even when a matmul of class bf16 reads it next); an fp32 y may be x. Rows are
// dense.
struct LayerNormArgs {
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float epsilon = 0;
  int64_t rows = 0;
  int64_t width = 0;
  void* y = nullptr;
  DType output_type = DType::kFloat32;
};

void LayerNorm(const LayerNormArgs& args, ThreadPool& pool);
void LayerNormReference(const LayerNormArgs& args);

}  // namespace switchyard::kernels
