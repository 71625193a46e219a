#pragma once

// Rotary position embedding, half-split layout (element i pairs with i + rotary_dim / 2), as
// transformers applies it to Llama and Mixtral. Frequencies are computed once, as transformers
// does, from the rope kind of the model.
//
// Definition: angle = fp32(position) * inverse_frequency[i], one fp32 product as in transformers
// (so its rounding far out is transformers' too); c = cos(angle) * attention_factor and s likewise
// (SinCos of kernels/base/math.h); then x[i] = x[i] c - x[j] s and x[j] = x[j] c + x[i] s with
// j = i + rotary_dim / 2, each product and each sum rounded.

#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Inverse frequencies and the factor on cos and sin (1 unless the rope kind says otherwise).
struct RopeTable {
  std::vector<float> inverse_frequency;  // rotary_dim / 2
  float attention_factor = 1.0f;
};

// x: `rows` rows of `heads` vectors of `head_dim` floats, rows `row_stride` floats apart, heads
// dense. Rotated in place at positions[row] >= 0. The first 2 * inverse_frequency.size() elements
// of a vector rotate, the rest pass.
struct RopeArgs {
  float* x = nullptr;
  int64_t row_stride = 0;
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  const int64_t* positions = nullptr;
  const RopeTable* table = nullptr;
};

void Rope(const RopeArgs& args, ThreadPool& pool);
void RopeReference(const RopeArgs& args);

}  // namespace switchyard::kernels
