#pragma once

// The vector forms of simd.h behind pointers, so that a test can compare the levels. Test only.

#include <cstdint>

#include "kernels/base/cpu.h"

namespace switchyard::kernels {

// y[i] = f(x[i]) for sixteen lanes.
using VectorFunction = void (*)(const float* x, float* y);

struct VectorFunctions {
  VectorFunction exp, log, sigmoid, silu, rsqrt, sin, cos;
  VectorFunction round_to_bf16;
  // x holds 16 floats; the bf16 go to y as 16-bit words.
  void (*store_bf16)(const float* x, uint16_t* y);
  void (*load_bf16)(const uint16_t* x, float* y);
  VectorFunction reduce_add;  // to y[0]
  VectorFunction swap_pairs;
};

const VectorFunctions& VectorFunctionsFor(CpuLevel level);

extern const VectorFunctions kVectorFunctionsScalar;
extern const VectorFunctions kVectorFunctionsAvx2;
extern const VectorFunctions kVectorFunctionsAvx512;

}  // namespace switchyard::kernels
