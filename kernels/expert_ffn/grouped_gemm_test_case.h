#pragma once

// Experts and rows with which tests of the grouped GEMM compare, and how far a right answer may be
// from the exact one. Sums of a matrix instruction are compared with double precision and a bound:
// their inner order and rounding are the hardware's.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/memory.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels::testing {

// An instruction adds 16 products to a sum, each addend cut off below 2^-23 of the largest, and
// cuts its result: at most 18 such errors per 16 k, thus 1.125 a k. A sum in any order of fp32
// additions errs less.
inline double SumBound(int64_t k, double magnitudes) {
  return (1.125 * static_cast<double>(k) + 18) * 0x1p-23 * magnitudes;
}

// bf16 to nearest: half of the last of 8 bits; a subnormal becomes zero.
inline double RoundingBound(double value) { return 0x1p-8 * std::abs(value) + 0x1p-126; }

// A value and how far a computed one may be from it.
struct Bounded {
  double value;
  double bound;
};

// The sum over k of a row of W and x, and the bias.
inline Bounded ExactSum(const uint16_t* w, const uint16_t* x, int64_t k, const float* bias) {
  double sum = bias == nullptr ? 0 : double{*bias};
  double magnitudes = std::abs(sum);
  for (int64_t i = 0; i < k; ++i) {
    const double product = double{Bf16ToFloat(w[i])} * Bf16ToFloat(x[i]);
    sum += product;
    magnitudes += std::abs(product);
  }
  return {sum, SumBound(k, magnitudes)};
}

inline double ExactActivation(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kClampedSwiGlu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kSilu:
      break;
  }
  return x / (1 + std::exp(-x));
}

// No activation's slope is above 1.2; in fp32 each errs by less than 2^-20 of its argument.
inline Bounded ExactActivation(Activation activation, const Bounded& x) {
  return {ExactActivation(activation, x.value), 1.2 * x.bound + 0x1p-20 * std::abs(x.value)};
}

struct ExpertShape {
  int64_t hidden;
  int64_t intermediate;
  bool gated;
};

class GroupedProblem {
 public:
  GroupedProblem(const ExpertShape& shape, Activation activation, bool biased,
                 const std::vector<int64_t>& rows_of_experts)
      : shape(shape), activation(activation), rows_of_experts(rows_of_experts) {
    const int64_t h = shape.hidden, i = shape.intermediate;
    for (size_t e = 0; e < rows_of_experts.size(); ++e) {
      rows += rows_of_experts[e];
      const double in = 1 / std::sqrt(static_cast<double>(h));
      const double down_scale = 1 / std::sqrt(static_cast<double>(i));
      experts.push_back({Bf16(i * h, in), shape.gated ? Bf16(i * h, in) : std::vector<uint16_t>(),
                         Bf16(h * i, down_scale), Bias(biased, i), Bias(biased && shape.gated, i),
                         Bias(biased, h)});
    }
    inputs = Bf16(rows * h, 1);
    gate_weights = RandomValues(rows, ++seed_);
  }

  ExpertWeights Weights(size_t expert, NumericsClass numerics) const {
    const Expert& e = experts[expert];
    const auto pack = [&](const std::vector<uint16_t>& values, int64_t n, int64_t k) {
      if (values.empty()) return PackedMatrix();
      PackedMatrix w(numerics, n, k);
      w.PackRows(0, n, values.data(), DType::kBfloat16);
      return w;
    };
    const auto floats = [](const std::vector<float>& values) {
      return Floats(values.begin(), values.end());
    };
    return {.gate = pack(e.gate, shape.intermediate, shape.hidden),
            .up = pack(e.up, shape.intermediate, shape.hidden),
            .down = pack(e.down, shape.hidden, shape.intermediate),
            .activation = activation,
            .limit = limit,
            .gate_bias = floats(e.gate_bias),
            .up_bias = floats(e.up_bias),
            .down_bias = floats(e.down_bias)};
  }

  // Of all experts.
  std::vector<ExpertWeights> AllWeights(NumericsClass numerics) const {
    std::vector<ExpertWeights> weights;
    for (size_t e = 0; e < experts.size(); ++e) weights.push_back(Weights(e, numerics));
    return weights;
  }

  size_t ExpertOf(int64_t row) const {
    size_t expert = 0;
    for (int64_t end = rows_of_experts[0]; row >= end; end += rows_of_experts[expert]) ++expert;
    return expert;
  }

  // Element `feature` of h for the row, before and after it is rounded.
  Bounded Hidden(int64_t row, int64_t feature) const {
    const Expert& e = experts[ExpertOf(row)];
    const uint16_t* const x = inputs.data() + row * shape.hidden;
    const auto sum = [&](const std::vector<uint16_t>& w, const std::vector<float>& bias) {
      return ExactSum(w.data() + feature * shape.hidden, x, shape.hidden,
                      bias.empty() ? nullptr : &bias[static_cast<size_t>(feature)]);
    };
    Bounded gate = sum(e.gate, e.gate_bias);
    const bool clamped = activation == Activation::kClampedSwiGlu;
    if (clamped) gate.value = std::min(gate.value, double{limit});
    const Bounded active = ExactActivation(activation, gate);
    if (!shape.gated) return Rounded(active);
    Bounded up = sum(e.up, e.up_bias);
    if (clamped) up.value = std::clamp(up.value, -double{limit}, double{limit}) + 1;
    return Rounded({active.value * up.value, active.bound * (std::abs(up.value) + up.bound) +
                                                 std::abs(active.value) * up.bound});
  }

  // Element `feature` of the row's output, given its h.
  Bounded Output(int64_t row, int64_t feature, const uint16_t* h, DType type) const {
    const Expert& e = experts[ExpertOf(row)];
    const Bounded sum =
        ExactSum(e.down.data() + feature * shape.intermediate, h, shape.intermediate,
                 e.down_bias.empty() ? nullptr : &e.down_bias[static_cast<size_t>(feature)]);
    const double weight = gate_weights[static_cast<size_t>(row)];
    const Bounded y = {weight * sum.value,
                       std::abs(weight) * (sum.bound + 0x1p-23 * std::abs(sum.value))};
    return type == DType::kBfloat16 ? Rounded(y) : y;
  }

  struct Expert {
    std::vector<uint16_t> gate, up, down;
    std::vector<float> gate_bias, up_bias, down_bias;
  };

  ExpertShape shape;
  Activation activation;
  float limit = 0.75f;
  std::vector<int64_t> rows_of_experts;
  int64_t rows = 0;
  std::vector<Expert> experts;
  std::vector<uint16_t> inputs;  // [rows, hidden]
  std::vector<float> gate_weights;

 private:
  static Bounded Rounded(const Bounded& x) {
    return {x.value, x.bound + RoundingBound(std::abs(x.value) + x.bound)};
  }

  std::vector<uint16_t> Bf16(int64_t count, double scale) {
    const std::vector<float> values = RandomValues(count, ++seed_, static_cast<float>(scale));
    std::vector<uint16_t> narrow(values.size());
    std::transform(values.begin(), values.end(), narrow.begin(), FloatToBf16);
    return narrow;
  }

  std::vector<float> Bias(bool present, int64_t count) {
    return present ? RandomValues(count, ++seed_) : std::vector<float>();
  }

  uint32_t seed_ = 17;
};

inline ::testing::AssertionResult Within(double found, const Bounded& expected) {
  if (std::abs(found - expected.value) <= expected.bound) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << found << " is not within " << expected.bound << " of " << expected.value;
}

// All of h ([rows], RowStride(intermediate) apart) given x, and all outputs given that h: an error
// of the first product does not hide in the wider bound of the second.
template <typename OutputAt>
void ExpectWithinBounds(const GroupedProblem& problem, const uint16_t* h, DType output_type,
                        const OutputAt& output) {
  const int64_t stride = grouped::RowStride(problem.shape.intermediate);
  for (int64_t row = 0; row < problem.rows; ++row) {
    for (int64_t i = 0; i < problem.shape.intermediate; ++i) {
      ASSERT_TRUE(Within(Bf16ToFloat(h[row * stride + i]), problem.Hidden(row, i)))
          << "h of row " << row << ", " << i;
    }
    for (int64_t i = 0; i < problem.shape.hidden; ++i) {
      ASSERT_TRUE(Within(output(row, i), problem.Output(row, i, h + row * stride, output_type)))
          << "output of row " << row << ", " << i;
    }
  }
}

}  // namespace switchyard::kernels::testing
