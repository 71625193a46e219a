#pragma once

// What happens to the rows between and after an expert's matmuls, per CPU level. Internal.

#include <cstdint>

#include "kernels/base/cpu.h"
#include "kernels/base/numerics.h"
#include "kernels/expert_ffn/expert_weights.h"

namespace switchyard::kernels {

// A node program of Combine: row >= 0 pushes that row, kMerge replaces the top two by their sum.
struct CombineStep {
  static constexpr int32_t kMerge = -1;
  int32_t row;
};

struct ActivationInput {
  Activation activation;
  float limit;
  const float* gate;  // 16 floats
  const float* up;
  const float* gate_bias;  // `count` floats
  const float* up_bias;
};

struct RowKernels {
  // h of expert_ffn.h rounded to the wire type; `count` outputs (at most 16) are written as
  // `row_type` at `row`. `up` is null without a gate, biases where there are none.
  void (*activate)(const ActivationInput& input, int64_t count, DType wire_type, DType row_type,
                   void* row);

  // weight * (values + bias), rounded to `type`; `count` outputs (at most 16). `bias` may be null.
  void (*weighted_store)(const float* values, const float* bias, float weight, int64_t count,
                         DType type, void* output);

  // output = residual + the sum that the program describes, over all `hidden` elements.
  void (*combine)(const CombineStep* steps, int64_t step_count, const void* const* rows,
                  DType wire_type, int64_t hidden, const float* residual, float* output);

  bool (*all_finite)(const void* row, DType type, int64_t n);
};

// `level` must not be above what the processor has.
const RowKernels& RowKernelsFor(CpuLevel level);

// One per level, defined in row_kernels_<level>.cc.
extern const RowKernels kRowKernelsScalar;
extern const RowKernels kRowKernelsAvx2;
extern const RowKernels kRowKernelsAvx512;

}  // namespace switchyard::kernels
