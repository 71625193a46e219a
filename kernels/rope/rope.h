#pragma once

// Rotary position embedding. Element i pairs with i + rotary_dim / 2 (half-split, as transformers
// applies it to Llama and Mixtral) or 2i with 2i + 1 (interleaved, as DeepSeek does); the results
// take the places of their operands. Frequencies are computed once, as transformers does, from the
// rope kind of the model.
//
// Definition: angle = fp32(position) * inverse_frequency[i], one fp32 product as in transformers
// (so its rounding far out is transformers' too); c = cos(angle) * attention_factor and s likewise
// (SinCos of kernels/base/math.h); then x[a] = x[a] c - x[b] s and x[b] = x[b] c + x[a] s for the
// i-th pair (a, b), each product and each sum rounded.

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
// of a vector rotate, the rest pass. (Where the last ones rotate, as in MLA, x points to them in
// the first head.)
struct RopeArgs {
  float* x = nullptr;
  int64_t row_stride = 0;
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  const int64_t* positions = nullptr;
  const RopeTable* table = nullptr;
  bool interleaved = false;
};

void Rope(const RopeArgs& args, ThreadPool& pool);
void RopeReference(const RopeArgs& args);

}  // namespace switchyard::kernels
