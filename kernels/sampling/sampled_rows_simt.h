#pragma once

// What the kernels of sampling share. Each takes a block a row and leaves what it found in the
// row's SampledRow for those after it.

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/sampling/kept_set.h"
#include "kernels/sampling/sampling.h"
#include "kernels/simt/simt.h"

namespace switchyard::kernels::simt {

inline constexpr int kSamplingThreads = 512;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct SampledRow {
  bool is_drawn;  // else its token is known, and the rest is not set
  float max;      // of the values
  KeptSet kept;   // so far

  // Of a row with top-p.
  double target;       // where the mass above a token ends what is kept
  float lowest;        // no token below it comes before the end
  int64_t candidates;  // how many tokens are not below `lowest`
};

struct SampledRows {
  const float* const* logits;
  int64_t vocabulary;
  const SamplingParameters* parameters;
  SampledRow* rows;

  SWITCHYARD_SIMT const float* Logits(int64_t row) const { return logits[row]; }

  // Of a row that is drawn, after temperature.
  SWITCHYARD_SIMT float Value(int64_t row, int64_t id) const {
    return Logits(row)[id] / parameters[row].temperature;
  }
};

// A token and what it is compared by.
struct Best {
  float value;
  int32_t id;  // -1: no token

  static constexpr Best None() { return {-kInfinity, -1}; }

  constexpr bool IsAbove(const Best& other) const {
    if (id < 0 || other.id < 0) return id >= 0;
    return value > other.value || (value == other.value && id < other.id);
  }
};

// The best of a block's threads in two phases: JoinParts by 16 of them, Join by one.
struct BlockBest {
  static constexpr int kParts = 16;
  Best of_thread[kSamplingThreads];
  Best of_part[kParts];

  SWITCHYARD_SIMT void JoinParts(int thread) {
    if (thread >= kParts) return;
    Best best = Best::None();
    for (int i = thread; i < kSamplingThreads; i += kParts) {
      if (of_thread[i].IsAbove(best)) best = of_thread[i];
    }
    of_part[thread] = best;
  }

  SWITCHYARD_SIMT Best Join() const {
    Best best = Best::None();
    for (int i = 0; i < kParts; ++i) {
      if (of_part[i].IsAbove(best)) best = of_part[i];
    }
    return best;
  }
};

// Unsigned numbers in the order of the values; zeros of both signs are one.
constexpr uint32_t OrderedKey(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value == 0.0f ? 0.0f : value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

constexpr float ValueOfKey(uint32_t key) {
  return std::bit_cast<float>((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

}  // namespace switchyard::kernels::simt
