#pragma once

// CombineTokens for GPUs: a thread an element of a token, a block a piece of it.

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/expert_ffn/combine.h"
#include "kernels/expert_ffn/combine_program.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct CombineTokensKernel {
  static constexpr int kThreads = 256;
  struct Shared {};
  const CombineStep* steps;  // of all tokens, in their order; rows count from `results`
  const int64_t* step_ends;  // of each token's steps
  const std::byte* results;  // rows of `hidden` elements of the wire type
  DType wire_type;
  int64_t hidden;
  float* output;

  // Blocks that a token takes.
  constexpr int64_t Pieces() const { return (hidden + kThreads - 1) / kThreads; }

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t token = block / Pieces();
    const int64_t i = block % Pieces() * kThreads + thread;
    const int64_t first = token == 0 ? 0 : step_ends[token - 1];
    const int64_t end = step_ends[token];
    if (i >= hidden || first == end) return;
    float& y = output[token * hidden + i];
    y = y + Sum(first, end, i);
  }

  SWITCHYARD_SIMT float Sum(int64_t first, int64_t end, int64_t i) const {
    constexpr int kMaxDepth = 32;  // more than the height of the tree over 31-bit expert ids
    float stack[kMaxDepth];
    int depth = 0;
    for (int64_t step = first; step < end; ++step) {
      const int32_t row = steps[step].row;
      if (row != CombineStep::kMerge) {
        stack[depth++] = LoadElement(results, wire_type, row * hidden + i);
        continue;
      }
      --depth;
      const float sum = stack[depth - 1] + stack[depth];
      stack[depth - 1] = wire_type == DType::kBfloat16 ? RoundToBf16(sum) : sum;
    }
    return stack[0];
  }
};

// All tokens' programs and rows, gathered on the host to be staged.
struct CombineStaging {
  std::vector<CombineStep> steps;
  std::vector<int64_t> step_ends;
  std::vector<std::byte> results;

  void Gather(const CombineTokensArgs& args) {
    const size_t row_bytes = static_cast<size_t>(args.hidden) * SizeOf(args.wire_type);
    steps.clear();
    step_ends.clear();
    results.clear();
    int32_t rows = 0;
    for (int64_t token = 0; token < args.rows; ++token) {
      const CombineProgram program = MakeCombineProgram(args, token);
      for (CombineStep step : std::span(program.steps).first(program.step_count)) {
        if (step.row != CombineStep::kMerge) step.row += rows;
        steps.push_back(step);
      }
      step_ends.push_back(std::ssize(steps));
      for (const void* row : std::span(program.rows).first(program.row_count)) {
        const auto* const bytes = static_cast<const std::byte*>(row);
        results.insert(results.end(), bytes, bytes + row_bytes);
      }
      rows += static_cast<int32_t>(program.row_count);
    }
  }
};

template <typename Launch>
void CombineTokens(const CombineTokensArgs& args, Launch& launch) {
  // Kept by the thread, so that it allocates only while it grows.
  static thread_local CombineStaging staging;
  staging.Gather(args);
  const CombineTokensKernel kernel{
      .steps = launch.Stage(std::span<const CombineStep>(staging.steps)),
      .step_ends = launch.Stage(std::span<const int64_t>(staging.step_ends)),
      .results = launch.Stage(std::span<const std::byte>(staging.results)),
      .wire_type = args.wire_type,
      .hidden = args.hidden,
      .output = args.output};
  launch(kernel, args.rows * kernel.Pieces());
}

}  // namespace switchyard::kernels::simt
