#pragma once

// h of expert_ffn.h, for float and for F32x16: one source, as simd_math.h and included like it,
// behind simd.h or kernels/simt/math.h.

namespace switchyard::kernels::SWITCHYARD_SIMD {

template <typename F>
SWITCHYARD_INLINE F ApplyActivation(Activation activation, F x) {
  switch (activation) {
    case Activation::kGelu:
      return Gelu(x);
    case Activation::kGeluTanh:
      return GeluTanh(x);
    case Activation::kRelu:
      return Select(x < F(0.0f), F(0.0f), x);
    case Activation::kClampedSwiGlu:
      return x * Sigmoid(F(1.702f) * x);
    case Activation::kSilu:
      break;
  }
  return Silu(x);
}

// With three matrices. `limit`: of kClampedSwiGlu.
template <typename F>
SWITCHYARD_INLINE F ApplyGated(Activation activation, float limit, F gate, F up) {
  if (activation == Activation::kClampedSwiGlu) {
    const F high(limit), low(-limit);
    gate = Select(high < gate, high, gate);
    up = Select(high < up, high, Select(up < low, low, up)) + F(1.0f);
  }
  return ApplyActivation(activation, gate) * up;
}

}  // namespace switchyard::kernels::SWITCHYARD_SIMD
