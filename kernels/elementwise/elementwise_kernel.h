#pragma once

#include <cstdint>

namespace switchyard::kernels {

// One row; what the vector levels implement, one translation unit a level.
struct ElementwiseKernel {
  void (*clamp)(float* x, float limit, int64_t width);
  void (*add)(float* x, const float* y, int64_t width);
  void (*add_gated)(float* x, float gate, const float* y, int64_t width);
};

extern const ElementwiseKernel kElementwiseScalar;
extern const ElementwiseKernel kElementwiseAvx2;
extern const ElementwiseKernel kElementwiseAvx512;

}  // namespace switchyard::kernels
