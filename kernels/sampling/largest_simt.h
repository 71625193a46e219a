#pragma once

// The first step of sampling on GPUs: the largest logit, which is the token where nothing is drawn,
// and what min-p removes.

#include <algorithm>

#include "kernels/sampling/sampled_rows_simt.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct LargestKernel {
  static constexpr int kThreads = kSamplingThreads;
  struct Shared {
    BlockBest best;
  };
  SampledRows all;
  int32_t* tokens;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 3; }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t row, int thread, Shared& shared) const {
    if (phase == 0) shared.best.of_thread[thread] = LargestOf(row, thread);
    if (phase == 1) shared.best.JoinParts(thread);
    if (phase == 2 && thread == 0) Decide(row, shared.best.Join());
  }

  // A NaN counts as +inf, which the row has no answer with either.
  SWITCHYARD_SIMT Best LargestOf(int64_t row, int thread) const {
    const float* const logits = all.Logits(row);
    Best best = Best::None();
    for (int64_t i = thread; i < all.vocabulary; i += kThreads) {
      const float logit = logits[i] < kInfinity ? logits[i] : kInfinity;
      if (logit > best.value) best = {logit, static_cast<int32_t>(i)};
    }
    return best;
  }

  SWITCHYARD_SIMT void Decide(int64_t row, Best best) const {
    const SamplingParameters& parameters = all.parameters[row];
    SampledRow& state = all.rows[row];
    const bool failed = best.id < 0 || best.value == kInfinity;
    tokens[row] = failed ? -1 : best.id;
    state.is_drawn = false;
    if (failed || parameters.temperature < kGreedyTemperature) return;
    state.max = all.Value(row, best.id);
    state.is_drawn = state.max < kInfinity;  // after an overflow no other comes near
    state.kept = {};
    if (parameters.min_p > 0.0f) {
      state.kept.threshold = state.max + std::min(Log(parameters.min_p), 0.0f);
    }
  }
};

}  // namespace switchyard::kernels::simt
