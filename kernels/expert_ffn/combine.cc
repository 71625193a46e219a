#include "kernels/expert_ffn/combine.h"

#include <algorithm>

#include "kernels/base/cpu.h"
#include "kernels/expert_ffn/combine_program.h"
#include "kernels/expert_ffn/row_kernels.h"

namespace switchyard::kernels {
namespace {

// Elements that a tile covers: some microseconds of work.
constexpr int64_t kTileElements = 16384;

void Run(const CombineProgram& program, DType wire_type, int64_t hidden, const float* residual,
         float* output) {
  if (program.step_count == 0) {
    if (output != residual) std::copy_n(residual, hidden, output);
    return;
  }
  RowKernelsFor(ActiveCpuLevel())
      .combine(program.steps, program.step_count, program.rows, wire_type, hidden, residual,
               output);
}

}  // namespace

void Combine(std::span<const CombineRow> rows, DType wire_type, int64_t hidden,
             const float* residual, float* output) {
  Run(MakeCombineProgram(rows), wire_type, hidden, residual, output);
}

void CombineTokens(const CombineTokensArgs& args, ThreadPool& pool) {
  const int64_t per_tile = std::max<int64_t>(1, kTileElements / (args.hidden * args.top_k));
  pool.ParallelFor((args.rows + per_tile - 1) / per_tile, [&](int64_t tile, int) {
    const int64_t end = std::min(args.rows, (tile + 1) * per_tile);
    for (int64_t row = tile * per_tile; row < end; ++row) {
      float* const output = args.output + row * args.hidden;
      Run(MakeCombineProgram(args, row), args.wire_type, args.hidden, output, output);
    }
  });
}

}  // namespace switchyard::kernels
