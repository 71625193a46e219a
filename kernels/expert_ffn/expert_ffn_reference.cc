#include <algorithm>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/math.h"
#include "kernels/expert_ffn/expert_ffn.h"

namespace switchyard::kernels {
namespace {

std::vector<float> Multiply(const PackedMatrix& w, const void* x) {
  std::vector<float> y(static_cast<size_t>(w.n()));
  MatmulReference({.x = x, .x_stride = w.k(), .m = 1, .w = &w, .y = y.data(), .y_stride = w.n()});
  return y;
}

// An absent bias is not added as 0, which would make -0 +0.
float WithBias(float x, const Floats& bias, size_t i) { return bias.empty() ? x : x + bias[i]; }

float Apply(Activation activation, float x) {
  switch (activation) {
    case Activation::kGelu:
      return Gelu(x);
    case Activation::kGeluTanh:
      return GeluTanh(x);
    case Activation::kRelu:
      return x < 0.0f ? 0.0f : x;
    case Activation::kClampedSwiGlu:
      return x * Sigmoid(1.702f * x);
    case Activation::kSilu:
      break;
  }
  return Silu(x);
}

float Gated(const ExpertWeights& weights, float gate, float up) {
  if (weights.activation == Activation::kClampedSwiGlu) {
    gate = std::min(gate, weights.limit);
    up = std::clamp(up, -weights.limit, weights.limit) + 1.0f;
  }
  return Apply(weights.activation, gate) * up;
}

void RunRow(const ExpertWeights& weights, const ExpertRow& row, DType output_type) {
  const DType wire_type = WireType(weights.gate.numerics());
  const std::vector<float> gate = Multiply(weights.gate, row.input);
  std::vector<float> up;
  if (weights.gated()) up = Multiply(weights.up, row.input);
  std::vector<float> hidden_fp32;
  std::vector<uint16_t> hidden_bf16;
  for (size_t i = 0; i < gate.size(); ++i) {
    const float g = WithBias(gate[i], weights.gate_bias, i);
    const float h = weights.gated() ? Gated(weights, g, WithBias(up[i], weights.up_bias, i))
                                    : Apply(weights.activation, g);
    hidden_fp32.push_back(h);
    hidden_bf16.push_back(FloatToBf16(h));
  }
  const std::vector<float> y = Multiply(
      weights.down, wire_type == DType::kFloat32 ? static_cast<const void*>(hidden_fp32.data())
                                                 : hidden_bf16.data());
  for (size_t i = 0; i < y.size(); ++i) {
    const float weighted = row.gate_weight * WithBias(y[i], weights.down_bias, i);
    if (output_type == DType::kFloat32) {
      static_cast<float*>(row.output)[i] = weighted;
    } else {
      static_cast<uint16_t*>(row.output)[i] = FloatToBf16(weighted);
    }
  }
}

}  // namespace

void ExpertFfnReference(const ExpertBatch& batch) {
  SetComputeThreadFloatMode();
  for (const ExpertGroup& group : batch.groups) {
    for (int64_t i = group.begin; i < group.end; ++i) {
      RunRow(*group.weights, batch.rows[static_cast<size_t>(i)], batch.output_type);
    }
  }
}

}  // namespace switchyard::kernels
