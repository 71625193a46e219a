#pragma once

// Sampling for GPUs: kernels with a block a row, one after the other; each skips the rows that have
// no use for it.

#include <algorithm>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/sampling/draw_simt.h"
#include "kernels/sampling/largest_simt.h"
#include "kernels/sampling/sampled_rows_simt.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/top_k_simt.h"
#include "kernels/sampling/top_p_simt.h"

namespace switchyard::kernels::simt {

// Cuts the kept sets of the `listed` rows, which ask for top-p.
template <typename Launch>
void CutAtMass(const SampledRows& all, std::span<const int32_t> listed, Launch& launch) {
  constexpr int64_t kRowsAtOnce = 32;  // for each of which there is room for the whole vocabulary
  const int64_t count = static_cast<int64_t>(listed.size());
  const int32_t* const rows = launch.Stage(listed);
  TargetKernel target{.all = all, .listed = rows, .lanes = nullptr};
  target.lanes = launch.template Scratch<float>(count * target.Blocks() * 16);
  launch(target, count);
  uint64_t* const entries =
      launch.template Scratch<uint64_t>(std::min(count, kRowsAtOnce) * all.vocabulary);
  for (int64_t first = 0; first < count; first += kRowsAtOnce) {
    const int64_t some = std::min(count - first, kRowsAtOnce);
    launch(GatherKernel{all, rows + first, entries}, some);
    launch(CutKernel{all, rows + first, entries}, some);
  }
}

// Everything but the draw: the kept set of each row that is drawn, and the tokens of the others.
template <typename Launch>
SampledRows KeepTokens(const SampleArgs& args, int32_t* tokens, Launch& launch) {
  const std::span<const SamplingParameters> parameters(args.parameters, args.rows);
  static thread_local std::vector<int32_t> with_top_p;
  with_top_p.clear();
  bool any_top_k = false;
  for (int64_t row = 0; row < args.rows; ++row) {
    if (parameters[row].temperature < kGreedyTemperature) continue;
    any_top_k |= parameters[row].top_k > 0;
    if (parameters[row].top_p < 1.0f) with_top_p.push_back(static_cast<int32_t>(row));
  }
  const SampledRows all{.logits = launch.Stage(std::span(args.logits, args.rows)),
                        .vocabulary = args.vocabulary,
                        .parameters = launch.Stage(parameters),
                        .rows = launch.template Scratch<SampledRow>(args.rows)};
  launch(LargestKernel{all, tokens}, args.rows);
  if (any_top_k) launch(TopKKernel{all}, args.rows);
  if (!with_top_p.empty()) CutAtMass(all, with_top_p, launch);
  return all;
}

template <typename Launch>
absl::Status Sample(const SampleArgs& args, Launch& launch) {
  if (args.rows == 0) return absl::OkStatus();
  int32_t* const tokens = launch.template Scratch<int32_t>(args.rows);
  const SampledRows all = KeepTokens(args, tokens, launch);
  const int64_t* const positions = launch.Stage(std::span(args.positions, args.rows));
  launch(DrawKernel{all, positions, tokens}, args.rows);
  launch.Fetch(tokens, std::span(args.tokens, args.rows));
  return launch.Finish();
}

}  // namespace switchyard::kernels::simt
