#pragma once

// What an expert consists of; expert_ffn.h says what is computed with it.

#include <cstddef>

#include "kernels/base/memory.h"
#include "kernels/matmul/matmul.h"

namespace switchyard::kernels {

enum class Activation {
  kSilu,
  kGelu,      // exact, by erf
  kGeluTanh,  // transformers' "gelu_new"
  kRelu,
  // gpt-oss, gated only: g = min(gate, limit), u = clamp(up, -limit, limit),
  // h = (g * Sigmoid(1.702 g)) * (u + 1).
  kClampedSwiGlu,
};

// Immutable once packed; shared by any number of threads.
struct ExpertWeights {
  PackedMatrix gate;  // [intermediate, hidden]
  PackedMatrix up;    // [intermediate, hidden]; empty when there are two matrices
  PackedMatrix down;  // [hidden, intermediate]
  Activation activation = Activation::kSilu;
  float limit = 0;  // of kClampedSwiGlu
  // Empty, or as long as the rows of their matrix.
  Floats gate_bias, up_bias, down_bias;

  bool gated() const { return up.n() > 0; }
  size_t bytes() const {
    return gate.bytes() + up.bytes() + down.bytes() +
           sizeof(float) * (gate_bias.size() + up_bias.size() + down_bias.size());
  }
};

}  // namespace switchyard::kernels
