#pragma once

// The expert FFN for GPUs: two launches over the rows of all experts, one up to h and one down; a
// thread an output, a block 128 neighbouring outputs of a row.

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/expert_ffn/expert_ffn.h"
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

// A row and its expert, an index.
struct ExpertRowView {
  const void* input;
  void* output;
  float gate_weight;
  int32_t expert;
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

// What a call copies to the device.
struct ExpertStaging {
  std::vector<ExpertView> experts;
  std::vector<ExpertRowView> rows;
  // Of rows on the host.
  std::vector<void*> outputs;
  std::vector<std::byte> elements;

  void Describe(const ExpertBatch& batch) {
    experts.clear();
    rows.clear();
    for (const ExpertGroup& group : batch.groups) {
      const auto expert = static_cast<int32_t>(experts.size());
      experts.push_back(View(*group.weights));
      for (int64_t i = group.begin; i < group.end; ++i) {
        const ExpertRow& row = batch.rows[static_cast<size_t>(i)];
        rows.push_back({row.input, row.output, row.gate_weight, expert});
      }
    }
  }

  void GatherInputs(size_t row_bytes) {
    elements.clear();
    for (const ExpertRowView& row : rows) {
      const auto* const bytes = static_cast<const std::byte*>(row.input);
      elements.insert(elements.end(), bytes, bytes + row_bytes);
    }
  }

  // The rows' elements lie one after the other from now on.
  void MoveRows(const std::byte* inputs, size_t input_bytes, std::byte* to, size_t output_bytes) {
    outputs.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      outputs.push_back(rows[i].output);
      rows[i].input = inputs + i * input_bytes;
      rows[i].output = to + i * output_bytes;
    }
  }

  void ScatterOutputs(size_t row_bytes) const {
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::memcpy(outputs[i], elements.data() + i * row_bytes, row_bytes);
    }
  }
};

// The launches, on rows that the device reaches.
template <typename Launch>
void RunExperts(const ExpertBatch& batch, const ExpertStaging& staging, ExpertWorkspace& workspace,
                Launch& launch) {
  const PackedMatrix& gate = batch.groups[0].weights->gate;
  const DType wire_type = WireType(gate.numerics());
  const size_t activation_bytes =
      staging.rows.size() * static_cast<size_t>(gate.n()) * SizeOf(wire_type);
  if (activation_bytes > workspace.activations.size()) {
    launch.Wait();  // earlier launches may still use the old memory
    workspace.activations.Reserve(activation_bytes);
  }
  const ExpertRowsView rows{.experts = launch.Stage(std::span(staging.experts)),
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
  // Kept by the thread, so that it allocates only while it grows.
  static thread_local ExpertStaging staging;
  staging.Describe(batch);
  if (staging.rows.empty()) return;
  if (!batch.rows_on_host) return RunExperts(batch, staging, workspace, launch);
  const PackedMatrix& gate = batch.groups[0].weights->gate;
  const size_t hidden = static_cast<size_t>(gate.k());
  const size_t input_bytes = hidden * SizeOf(WireType(gate.numerics()));
  const size_t output_bytes = hidden * SizeOf(batch.output_type);
  const size_t all_output_bytes = staging.rows.size() * output_bytes;
  staging.GatherInputs(input_bytes);
  const std::byte* const inputs = launch.Stage(std::span<const std::byte>(staging.elements));
  auto* const outputs = launch.template Scratch<std::byte>(static_cast<int64_t>(all_output_bytes));
  staging.MoveRows(inputs, input_bytes, outputs, output_bytes);
  RunExperts(batch, staging, workspace, launch);
  staging.elements.resize(all_output_bytes);
  launch.Fetch(outputs, std::span(staging.elements));
  staging.ScatterOutputs(output_bytes);
}

}  // namespace switchyard::kernels::simt
