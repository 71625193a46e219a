#pragma once

// The feed-forward network of an expert and of a dense layer. With three matrices (gated):
//   y = gate_weight * (W_down h + b_down), h = act(W_gate x + b_gate) * (W_up x + b_up)
// Mixtral's w1 is gate, w3 up, w2 down. With two, `up` is empty and h = act(W_gate x + b_gate);
// then gate is what GPT calls fc_in and T5 wi, down is fc_out and wo. Biases may be absent. x
// arrives in the class's wire type; h is fp32 and rounded to the wire type where the down
// projection reads it; the product with the token's gate weight is fp32 and then rounded to the
// output type (docs/arithmetic.md, "Combine").

#include <cstdint>
#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "kernels/expert_ffn/expert_weights.h"

namespace switchyard::kernels {

// One assignment: a token row that one expert must process.
struct ExpertRow {
  const void* input;  // hidden elements, WireType(class)
  void* output;       // hidden elements of `output_type`
  float gate_weight;  // multiplies the output
};

// Rows [begin, end) of the batch go to `weights`.
struct ExpertGroup {
  const ExpertWeights* weights;
  int64_t begin;
  int64_t end;
};

// All groups share hidden size, intermediate size, class and number of matrices; they may be of
// different layers.
struct ExpertBatch {
  std::span<const ExpertRow> rows;
  std::span<const ExpertGroup> groups;
  DType output_type = DType::kFloat32;  // the wire type for expert hosts, fp32 for dense layers
  // Inputs and outputs are memory of the host that a GPU cannot reach, such as frames: they are
  // copied there and back, and the call waits. The CPU takes no notice.
  bool rows_on_host = false;
};

// Scratch memory, grown on first use and kept. One batch at a time.
class ExpertWorkspace {
 public:
  Buffer activations;
};

// A row's output depends on its own input, gate weight and expert only: not on the other rows, the
// grouping, the thread count or the CPU level.
void ExpertFfn(const ExpertBatch& batch, ExpertWorkspace& workspace, ThreadPool& pool);

void ExpertFfnReference(const ExpertBatch& batch);

}  // namespace switchyard::kernels
