#pragma once

// An expert and its rows as the grouped GEMM takes them, and what it cannot take.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/expert_ffn/grouped_gemm_pack.h"

namespace switchyard::kernels::grouped {

// ExpertWeights before packing; nothing is owned. gate and up: [intermediate, hidden]; down:
// [hidden, intermediate]. `up` is absent when there are two matrices. Biases are fp32, empty or as
// long as the rows of their matrix.
struct ExpertSource {
  int64_t hidden = 0;
  int64_t intermediate = 0;
  SourceMatrix gate, up, down;
  std::span<const float> gate_bias, up_bias, down_bias;
  Activation activation = Activation::kSilu;
  float limit = 0;  // of kClampedSwiGlu

  bool gated() const { return up.data != nullptr; }
};

// What experts of one batch have in common.
struct ExpertShape {
  int64_t hidden;
  int64_t intermediate;
  bool gated;

  bool operator==(const ExpertShape&) const = default;

  PackedShape first() const { return {.features = intermediate, .k = hidden, .paired = gated}; }
  PackedShape down() const { return {.features = hidden, .k = intermediate, .paired = false}; }
};

inline ExpertShape ShapeOf(const ExpertSource& source) {
  return {.hidden = source.hidden, .intermediate = source.intermediate, .gated = source.gated()};
}

// An error names what is wrong: a hidden size that is no multiple of 8, a matrix or bias that is
// missing or has another length, a size that no tensor map can name.
absl::Status CheckSource(const ExpertSource& source);

// Inputs and outputs must be aligned to 16 bytes: what a thread copies at a time.
absl::Status CheckRows(std::span<const ExpertRow> rows);

}  // namespace switchyard::kernels::grouped
