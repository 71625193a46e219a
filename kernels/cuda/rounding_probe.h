#pragma once

// What nvcc makes of plain C++ arithmetic under the options of switchyard_cuda_library: for a test.

#include <cstdint>

#include "absl/status/status.h"

namespace switchyard::kernels {

struct Rounded {
  float multiply_add;  // a * b + c
  float fma;           // the same, written as one rounding
  float quotient;      // a / b
  float root;          // of |a|
};

// out[i] for a[i], b[i], c[i] in memory that the device reaches; waits.
absl::Status ProbeRounding(const float* a, const float* b, const float* c, int64_t count,
                           Rounded* out);

}  // namespace switchyard::kernels
