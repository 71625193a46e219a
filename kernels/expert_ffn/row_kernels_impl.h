#pragma once

// Included by row_kernels_<level>.cc, compiled with the options of the level.

#include "kernels/base/simd.h"
#include "kernels/expert_ffn/row_kernels.h"

// Behind the vector types.
#include "kernels/expert_ffn/activation_math.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {

// Elements [first, first + count) of a row, count <= 16; absent lanes are zero.
SWITCHYARD_INLINE F32x16 LoadRow(const void* row, DType type, int64_t first, int64_t count) {
  if (type == DType::kFloat32) {
    const float* p = static_cast<const float*>(row) + first;
    return count == 16 ? Load(p) : LoadPartial(p, count);
  }
  const uint16_t* p = static_cast<const uint16_t*>(row) + first;
  return count == 16 ? LoadBf16(p) : LoadBf16Partial(p, count);
}

SWITCHYARD_INLINE void StoreRow(F32x16 values, void* row, DType type, int64_t first,
                                int64_t count) {
  if (type == DType::kFloat32) {
    float* p = static_cast<float*>(row) + first;
    count == 16 ? Store(values, p) : StorePartial(values, p, count);
  } else {
    uint16_t* p = static_cast<uint16_t*>(row) + first;
    count == 16 ? StoreBf16(values, p) : StoreBf16Partial(values, p, count);
  }
}

SWITCHYARD_INLINE F32x16 WithBias(const float* values, const float* bias, int64_t count) {
  const F32x16 x = Load(values);
  return bias == nullptr ? x : x + LoadRow(bias, DType::kFloat32, 0, count);
}

inline void Activate(const ActivationInput& input, int64_t count, DType wire_type, DType row_type,
                     void* row) {
  const F32x16 gate = WithBias(input.gate, input.gate_bias, count);
  F32x16 h;
  if (input.up == nullptr) {
    h = ApplyActivation(input.activation, gate);
  } else {
    const F32x16 up = WithBias(input.up, input.up_bias, count);
    h = ApplyGated(input.activation, input.limit, gate, up);
  }
  if (wire_type == DType::kBfloat16) h = RoundToBf16(h);
  StoreRow(h, row, row_type, 0, count);
}

inline void WeightedStore(const float* values, const float* bias, float weight, int64_t count,
                          DType type, void* output) {
  StoreRow(F32x16(weight) * WithBias(values, bias, count), output, type, 0, count);
}

inline void CombineRows(const CombineStep* steps, int64_t step_count, const void* const* rows,
                        DType wire_type, int64_t hidden, const float* residual, float* output) {
  constexpr int kMaxDepth = 32;  // more than the height of the tree over 31-bit expert ids
  for (int64_t first = 0; first < hidden; first += 16) {
    const int64_t count = hidden - first < 16 ? hidden - first : 16;
    F32x16 stack[kMaxDepth];
    int depth = 0;
    for (int64_t i = 0; i < step_count; ++i) {
      if (steps[i].row != CombineStep::kMerge) {
        stack[depth++] = LoadRow(rows[steps[i].row], wire_type, first, count);
      } else {
        --depth;
        F32x16 sum = stack[depth - 1] + stack[depth];
        if (wire_type == DType::kBfloat16) sum = RoundToBf16(sum);
        stack[depth - 1] = sum;
      }
    }
    const F32x16 before = LoadRow(residual, DType::kFloat32, first, count);
    StoreRow(before + stack[0], output, DType::kFloat32, first, count);
  }
}

// x - x is zero for a finite x and NaN for any other.
inline bool AllFiniteRow(const void* row, DType type, int64_t n) {
  F32x16 sum(0.0f);
  for (int64_t first = 0; first < n; first += 16) {
    const F32x16 x = LoadRow(row, type, first, n - first < 16 ? n - first : 16);
    sum = sum + (x - x);
  }
  return ToBitmap(sum == F32x16(0.0f)) == 0xffffu;
}

inline constexpr RowKernels kRowKernels = {Activate, WeightedStore, CombineRows, AllFiniteRow};

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
