#pragma once

// The rows of an expert batch as kernels of GPUs take them, and their way to the device and back
// when they are in memory that it cannot reach.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/expert_ffn/expert_ffn.h"

namespace switchyard::kernels {

// A row and its expert, an index.
struct ExpertRowView {
  const void* input;
  void* output;
  float gate_weight;
  int32_t expert;
};

// What a call copies to the device and back. Kept by its user, so that it allocates only while it
// grows.
struct ExpertStaging {
  std::vector<ExpertRowView> rows;  // in the order of their groups
  // Of rows on the host.
  std::vector<void*> outputs;
  std::vector<std::byte> elements;

  void Describe(const ExpertBatch& batch) {
    rows.clear();
    for (size_t group = 0; group < batch.groups.size(); ++group) {
      for (int64_t i = batch.groups[group].begin; i < batch.groups[group].end; ++i) {
        const ExpertRow& row = batch.rows[static_cast<size_t>(i)];
        rows.push_back({row.input, row.output, row.gate_weight, static_cast<int32_t>(group)});
      }
    }
  }

  // Rows of `row_bytes`, `stride` bytes apart.
  void GatherInputs(size_t row_bytes, size_t stride) {
    elements.resize(rows.size() * stride);
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(elements.data() + i * stride, rows[i].input, row_bytes);
    }
  }

  // Where the rows are from now on.
  void MoveRows(const std::byte* inputs, size_t input_stride, std::byte* to, size_t output_stride) {
    outputs.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      outputs.push_back(rows[i].output);
      rows[i].input = inputs + i * input_stride;
      rows[i].output = to + i * output_stride;
    }
  }

  void ScatterOutputs(size_t row_bytes, size_t stride) const {
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::memcpy(outputs[i], elements.data() + i * stride, row_bytes);
    }
  }
};

// Calls `run` with rows that the device reaches and, when they are the host's, waits and brings the
// outputs back. Rows that were copied are aligned to 16 bytes.
template <typename Launch, typename Run>
void WithReachableRows(const ExpertBatch& batch, ExpertStaging& staging, Launch& launch,
                       const Run& run) {
  staging.Describe(batch);
  if (staging.rows.empty()) return;
  if (!batch.rows_on_host) return run();
  const PackedMatrix& gate = batch.groups[0].weights->gate;
  const auto stride = [](size_t bytes) { return (bytes + 15) / 16 * 16; };
  const auto hidden = static_cast<size_t>(gate.k());
  const size_t input_bytes = hidden * SizeOf(WireType(gate.numerics()));
  const size_t output_bytes = hidden * SizeOf(batch.output_type);
  const size_t all_output_bytes = staging.rows.size() * stride(output_bytes);
  staging.GatherInputs(input_bytes, stride(input_bytes));
  const std::byte* const inputs = launch.Stage(std::span<const std::byte>(staging.elements));
  auto* const outputs = launch.template Scratch<std::byte>(static_cast<int64_t>(all_output_bytes));
  staging.MoveRows(inputs, stride(input_bytes), outputs, stride(output_bytes));
  run();
  staging.elements.resize(all_output_bytes);
  launch.Fetch(outputs, std::span(staging.elements));
  staging.ScatterOutputs(output_bytes, stride(output_bytes));
}

// Grows the memory between the two products.
template <typename Launch>
void ReserveActivations(ExpertWorkspace& workspace, size_t bytes, Launch& launch) {
  if (bytes <= workspace.activations.size()) return;
  launch.Wait();  // earlier launches may still use the old memory
  workspace.activations.Reserve(bytes);
}

}  // namespace switchyard::kernels
