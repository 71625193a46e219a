#pragma once

// The expert FFN for GPUs: two launches over the rows of all experts, one up to h and one down; a
// thread an output, a block 128 neighbouring outputs of a row.

#include <span>
#include <vector>

#include "kernels/expert_ffn/expert_staging.h"
#include "kernels/matmul/matmul_simt.h"
#include "kernels/simt/math.h"

#define SWITCHYARD_SIMD simt
#define SWITCHYARD_INLINE SWITCHYARD_SIMT
#include "kernels/expert_ffn/activation_math.h"
#undef SWITCHYARD_SIMD
#undef SWITCHYARD_INLINE

namespace switchyard::kernels::simt {

// ExpertWeights as a kernel sees them; an absent bias is null.
struct ExpertView {
  MatrixView gate, up, down;
  const float *gate_bias, *up_bias, *down_bias;
  Activation activation;
  float limit;
};

// What both launches read: rows in the order of their groups.
struct ExpertRowsView {
  const ExpertView* experts;
  const ExpertRowView* rows;
  int64_t count;
  int64_t intermediate;
  DType wire_type;
  void* activations;  // h, [count][intermediate] of the wire type
};

SWITCHYARD_SIMT float ProductWithBias(const MatrixView& w, const float* bias, const void* x,
                                      int64_t n) {
  const float product = ProductWithRow(w, x, n);
  return bias == nullptr ? product : product + bias[n];
}

struct ExpertUpKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  ExpertRowsView batch;

  // Neighbouring blocks read the same weights.
  constexpr int64_t Blocks() const {
    return (batch.intermediate + kThreads - 1) / kThreads * batch.count;
  }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t row = block % batch.count;
    const int64_t n = block / batch.count * kThreads + thread;
    if (n >= batch.intermediate) return;
    const void* const x = batch.rows[row].input;
    const ExpertView& expert = batch.experts[batch.rows[row].expert];
    const float gate = ProductWithBias(expert.gate, expert.gate_bias, x, n);
    float h;
    if (expert.up.n == 0) {
      h = ApplyActivation(expert.activation, gate);
    } else {
      const float up = ProductWithBias(expert.up, expert.up_bias, x, n);
      h = ApplyGated(expert.activation, expert.limit, gate, up);
    }
    StoreElement(h, batch.activations, batch.wire_type, row * batch.intermediate + n);
  }
};

struct ExpertDownKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  ExpertRowsView batch;
  int64_t hidden;
  DType output_type;

  constexpr int64_t Blocks() const { return (hidden + kThreads - 1) / kThreads * batch.count; }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t index = block % batch.count;
    const int64_t n = block / batch.count * kThreads + thread;
    if (n >= hidden) return;
    const ExpertRowView& row = batch.rows[index];
    const ExpertView& expert = batch.experts[row.expert];
    const int64_t row_bytes = batch.intermediate * static_cast<int64_t>(SizeOf(batch.wire_type));
    const void* const h = static_cast<const char*>(batch.activations) + index * row_bytes;
    const float y = ProductWithBias(expert.down, expert.down_bias, h, n);
    StoreElement(row.gate_weight * y, row.output, output_type, n);
  }
};

inline ExpertView View(const ExpertWeights& weights) {
  const auto bias = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
  return {.gate = View(weights.gate),
          .up = weights.gated() ? View(weights.up) : MatrixView(),
          .down = View(weights.down),
          .gate_bias = bias(weights.gate_bias),
          .up_bias = bias(weights.up_bias),
          .down_bias = bias(weights.down_bias),
          .activation = weights.activation,
          .limit = weights.limit};
}

// The launches, on rows that the device reaches.
template <typename Launch>
void RunExperts(const ExpertBatch& batch, const ExpertStaging& staging, ExpertWorkspace& workspace,
                Launch& launch) {
  // Kept by the thread, so that it allocates only while it grows.
  static thread_local std::vector<ExpertView> experts;
  experts.clear();
  for (const ExpertGroup& group : batch.groups) experts.push_back(View(*group.weights));
  const PackedMatrix& gate = batch.groups[0].weights->gate;
  const DType wire_type = WireType(gate.numerics());
  ReserveActivations(
      workspace, staging.rows.size() * static_cast<size_t>(gate.n()) * SizeOf(wire_type), launch);
  const ExpertRowsView rows{.experts = launch.Stage(std::span<const ExpertView>(experts)),
                            .rows = launch.Stage(std::span(staging.rows)),
                            .count = std::ssize(staging.rows),
                            .intermediate = gate.n(),
                            .wire_type = wire_type,
                            .activations = workspace.activations.data()};
  const ExpertUpKernel up{rows};
  launch(up, up.Blocks());
  const ExpertDownKernel down{rows, gate.k(), batch.output_type};
  launch(down, down.Blocks());
}

template <typename Launch>
void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace, Launch& launch) {
  static thread_local ExpertStaging staging;
  WithReachableRows(batch, staging, launch, [&] { RunExperts(batch, staging, workspace, launch); });
}

}  // namespace switchyard::kernels::simt
