#pragma once

// Small operations between the matmuls of a layer, in place on rows of fp32. Every product and
// every sum is rounded.

#include <cstdint>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// `count` rows of `width` floats, `stride` apart.
struct FloatRows {
  float* x = nullptr;
  int64_t stride = 0;
  int64_t count = 0;
  int64_t width = 0;
};

// x = min(limit, max(-limit, x)); a NaN stays. OLMoE's clip_qkv.
void Clamp(const FloatRows& rows, float limit, ThreadPool& pool);
void ClampReference(const FloatRows& rows, float limit);

// x[row][i] += y[row][i], y dense.
void Add(const FloatRows& rows, const float* y, ThreadPool& pool);
void AddReference(const FloatRows& rows, const float* y);

// x[row][i] += bias[i]: of a projection, or of the LM head.
void AddBias(const FloatRows& rows, const float* bias, ThreadPool& pool);
void AddBiasReference(const FloatRows& rows, const float* bias);

// x[row][i] += Sigmoid(gate[row]) * y[row][i], y dense: Qwen2-MoE's shared expert.
void AddGated(const FloatRows& rows, const float* gate, const float* y, ThreadPool& pool);
void AddGatedReference(const FloatRows& rows, const float* gate, const float* y);

// y = x as a matmul of this wire type reads it: copied, or rounded to nearest even.
void ToWire(const float* x, int64_t elements, DType wire, void* y, ThreadPool& pool);

// `rows` rows of `width` floats to another place; strides in floats. They do not overlap.
struct CopyRowsArgs {
  const float* from = nullptr;
  int64_t from_stride = 0;
  int64_t rows = 0;
  int64_t width = 0;
  float* to = nullptr;
  int64_t to_stride = 0;
};
void CopyRows(const CopyRowsArgs& args, ThreadPool& pool);

}  // namespace switchyard::kernels
