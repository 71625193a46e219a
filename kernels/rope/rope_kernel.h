#pragma once

#include <cstdint>

namespace switchyard::kernels {

// One row of RopeArgs. `half`: number of frequencies.
struct RopeRow {
  float* x;
  int64_t heads;
  int64_t head_dim;
  float position;
  const float* inverse_frequency;
  int64_t half;
  float attention_factor;
};

// What the vector levels implement, one translation unit a level.
struct RopeKernel {
  void (*half_split)(const RopeRow& row);
  void (*interleaved)(const RopeRow& row);
};

extern const RopeKernel kRopeScalar;
extern const RopeKernel kRopeAvx2;
extern const RopeKernel kRopeAvx512;

}  // namespace switchyard::kernels
