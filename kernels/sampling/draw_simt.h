#pragma once

// The last step of sampling on GPUs: the arg-max of value + noise over what is kept.

#include <array>

#include "kernels/sampling/gumbel.h"
#include "kernels/sampling/sampled_rows_simt.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct DrawKernel {
  static constexpr int kThreads = kSamplingThreads;
  struct Shared {
    BlockBest best;
  };
  SampledRows all;
  const int64_t* positions;
  int32_t* tokens;

  SWITCHYARD_SIMT int64_t Phases(int64_t row) const { return all.rows[row].is_drawn ? 3 : 0; }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t row, int thread, Shared& shared) const {
    if (phase == 0) shared.best.of_thread[thread] = BestOf(row, thread);
    if (phase == 1) shared.best.JoinParts(thread);
    if (phase == 2 && thread == 0) tokens[row] = shared.best.Join().id;
  }

  SWITCHYARD_SIMT Best BestOf(int64_t row, int thread) const {
    Best best = Best::None();
    for (int64_t first = int64_t{thread} * kNoiseGroup; first < all.vocabulary;
         first += int64_t{kThreads} * kNoiseGroup) {
      TryGroup(row, first, best);
    }
    return best;
  }

  // The tokens that share one call of the generator.
  SWITCHYARD_SIMT void TryGroup(int64_t row, int64_t first, Best& best) const {
    float values[kNoiseGroup];
    bool is_kept[kNoiseGroup];
    bool any = false;
    for (int i = 0; i < kNoiseGroup; ++i) {
      const int64_t id = first + i;
      values[i] = id < all.vocabulary ? all.Value(row, id) : 0.0f;
      is_kept[i] =
          id < all.vocabulary && all.rows[row].kept.Contains(values[i], static_cast<int32_t>(id));
      any |= is_kept[i];
    }
    if (!any) return;
    const std::array<uint32_t, kNoiseGroup> words = RandomWords(
        all.parameters[row].seed, positions[row], static_cast<int32_t>(first / kNoiseGroup));
    for (int i = 0; i < kNoiseGroup; ++i) {
      if (!is_kept[i]) continue;
      const float noise = GumbelFromWord(words[i], [](float x) { return Log(x); });
      const Best one = {values[i] + noise, static_cast<int32_t>(first + i)};
      if (one.IsAbove(best)) best = one;
    }
  }
};

}  // namespace switchyard::kernels::simt
