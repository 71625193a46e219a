#pragma once

// Top-p on GPUs, in three kernels, for the rows that have it. The order of the sums is that of
// SumExp and SelectKept, so all tokens above the end of the kept set have to be sorted; the first
// kernel finds a bound below which that end cannot lie, so that they are few as a rule.

#include <algorithm>
#include <bit>

#include "kernels/sampling/sampled_rows_simt.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

SWITCHYARD_SIMT bool HasTopP(const SampledRows& all, int64_t row) {
  return all.rows[row].is_drawn && all.parameters[row].top_p < 1.0f;
}

// The target, a share of the mass of all that min-p and top-k keep, and the bound.
struct TargetKernel {
  static constexpr int kThreads = kSamplingThreads;
  static constexpr int64_t kBlock = 1024;  // ids that SumExp sums in fp32
  static constexpr int kBands = 5;
  static constexpr int kParts = 16;
  struct Shared {
    double of_thread[kBands][kThreads];  // the mass that a thread saw in a band
    double of_part[kBands][kParts];
  };
  SampledRows all;
  const int32_t* listed;  // the rows
  float* lanes;           // [listed][blocks][16]

  // Band b holds the values from max - Margin(b) up to those of the band before.
  SWITCHYARD_SIMT static float Margin(int band) { return static_cast<float>(4 << band); }
  SWITCHYARD_SIMT int64_t Blocks() const { return (all.vocabulary + kBlock - 1) / kBlock; }

  SWITCHYARD_SIMT int64_t Phases(int64_t block) const {
    return HasTopP(all, listed[block]) ? 3 : 0;
  }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const {
    const int64_t row = listed[block];
    float* const own_lanes = lanes + block * Blocks() * 16;
    if (phase == 0) SumLanes(row, thread, own_lanes, shared);
    if (phase == 1) Join(thread, own_lanes, shared);
    if (phase == 2 && thread == 0) SetTarget(row, own_lanes, shared);
  }

  SWITCHYARD_SIMT void SumLanes(int64_t row, int thread, float* own_lanes, Shared& shared) const {
    for (int band = 0; band < kBands; ++band) shared.of_thread[band][thread] = 0.0;
    for (int64_t item = thread; item < Blocks() * 16; item += kThreads) {
      const int64_t begin = item / 16 * kBlock;
      const int64_t end = std::min(begin + kBlock, all.vocabulary);
      float sum = 0.0f;
      for (int64_t i = begin + item % 16; i < end; i += 16) {
        sum += MassOf(row, all.Value(row, i), thread, shared);
      }
      own_lanes[item] = sum;
    }
  }

  // And adds it to the value's band.
  SWITCHYARD_SIMT float MassOf(int64_t row, float value, int thread, Shared& shared) const {
    const SampledRow& state = all.rows[row];
    if (!(state.kept.threshold <= value)) return 0.0f;
    const float mass = Exp(value - state.max);
    for (int band = 0; band < kBands; ++band) {
      if (!(value >= state.max - Margin(band))) continue;
      shared.of_thread[band][thread] += static_cast<double>(mass);
      break;
    }
    return mass;
  }

  // Blocks' sums into their first lanes.
  SWITCHYARD_SIMT void Join(int thread, float* own_lanes, Shared& shared) const {
    for (int64_t b = thread; b < Blocks(); b += kThreads) {
      own_lanes[b * 16] = JoinLanes(own_lanes + b * 16);
    }
    if (thread >= kBands * kParts) return;
    const int band = thread / kParts, part = thread % kParts;
    double sum = 0.0;
    for (int i = part; i < kThreads; i += kParts) sum += shared.of_thread[band][i];
    shared.of_part[band][part] = sum;
  }

  SWITCHYARD_SIMT void SetTarget(int64_t row, const float* own_lanes, const Shared& shared) const {
    SampledRow& state = all.rows[row];
    double total = 0.0;
    for (int64_t b = 0; b < Blocks(); ++b) total += static_cast<double>(own_lanes[b * 16]);
    state.target = static_cast<double>(all.parameters[row].top_p) * total;
    // The bands add up in another order than the tokens; the slack is far more than that changes.
    constexpr double kSlack = 1e-9;
    float margin = 128.0f;  // Exp is 0 beyond
    double mass = 0.0;
    for (int band = 0; band < kBands; ++band) {
      for (int part = 0; part < kParts; ++part) mass += shared.of_part[band][part];
      if (!(mass >= state.target * (1.0 + kSlack))) continue;
      margin = Margin(band);
      break;
    }
    state.lowest = std::max(state.kept.threshold, state.max - margin);
  }
};

// The tokens above the bound in no order, as numbers that ascend in the order of the cut: the
// value's key, complemented, above the id.
struct GatherKernel {
  static constexpr int kThreads = kSamplingThreads;
  struct Shared {
    int64_t count[kThreads];
  };
  SampledRows all;
  const int32_t* listed;
  uint64_t* entries;  // [listed][vocabulary]

  SWITCHYARD_SIMT int64_t Phases(int64_t block) const {
    return HasTopP(all, listed[block]) ? 2 : 0;
  }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const {
    const int64_t row = listed[block];
    SampledRow& state = all.rows[row];
    if (phase == 0) {
      int64_t count = 0;
      for (int64_t i = thread; i < all.vocabulary; i += kThreads) {
        count += all.Value(row, i) >= state.lowest;
      }
      shared.count[thread] = count;
      return;
    }
    int64_t next = 0;
    for (int before = 0; before < thread; ++before) next += shared.count[before];
    if (thread == kThreads - 1) state.candidates = next + shared.count[thread];
    uint64_t* const own = entries + block * all.vocabulary;
    for (int64_t i = thread; i < all.vocabulary; i += kThreads) {
      const float value = all.Value(row, i);
      if (!(value >= state.lowest)) continue;
      own[next++] = static_cast<uint64_t>(~OrderedKey(value)) << 32 | static_cast<uint64_t>(i);
    }
  }
};

// Sorts them by a bitonic network whose comparisons all ascend, so that what would lie beyond the
// last, being larger than all, never moves; then walks from the top until the mass passed reaches
// the target.
struct CutKernel {
  static constexpr int kThreads = kSamplingThreads;
  struct Shared {};
  SampledRows all;
  const int32_t* listed;
  uint64_t* entries;

  SWITCHYARD_SIMT int64_t Phases(int64_t block) const {
    if (!HasTopP(all, listed[block])) return 0;
    return SortPhases(all.rows[listed[block]].candidates) + 2;
  }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared&) const {
    const int64_t row = listed[block];
    const int64_t count = all.rows[row].candidates;
    uint64_t* const own = entries + block * all.vocabulary;
    const int64_t sort_phases = SortPhases(count);
    if (phase < sort_phases) return Sort(phase, count, thread, own);
    if (phase == sort_phases) return SetMasses(row, count, thread, own);
    if (thread == 0) Cut(row, count, own);
  }

  // Of log2(size), rounded up, stages; stage s takes s phases.
  SWITCHYARD_SIMT static int64_t SortPhases(int64_t count) {
    int64_t stages = 0;
    while (int64_t{1} << stages < count) ++stages;
    return stages * (stages + 1) / 2;
  }

  // Stage s merges two runs of 2^(s-1): first each element of one with its mirror image in the
  // other, then neighbours at half the distance each time.
  SWITCHYARD_SIMT static void Sort(int64_t phase, int64_t count, int thread, uint64_t* own) {
    int stage = 1;
    for (; phase >= stage; ++stage) phase -= stage;
    const bool mirrored = phase == 0;
    const int shift = stage - 1 - static_cast<int>(phase);
    const int64_t distance = int64_t{1} << shift;
    for (int64_t pair = thread;; pair += kThreads) {
      const int64_t place = pair & (distance - 1);
      const int64_t begin = (pair >> shift) << (shift + 1);
      if (begin >= count) return;
      const int64_t low = begin + place;
      const int64_t high = mirrored ? begin + 2 * distance - 1 - place : low + distance;
      if (high >= count || own[low] <= own[high]) continue;
      const uint64_t larger = own[low];
      own[low] = own[high];
      own[high] = larger;
    }
  }

  // In the place of the keys.
  SWITCHYARD_SIMT void SetMasses(int64_t row, int64_t count, int thread, uint64_t* own) const {
    for (int64_t i = thread; i < count; i += kThreads) {
      const uint64_t id = own[i] & 0xffffffffu;
      const float mass = Exp(all.Value(row, static_cast<int64_t>(id)) - all.rows[row].max);
      own[i] = static_cast<uint64_t>(std::bit_cast<uint32_t>(mass)) << 32 | id;
    }
  }

  SWITCHYARD_SIMT void Cut(int64_t row, int64_t count, const uint64_t* own) const {
    SampledRow& state = all.rows[row];
    double above = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      above += static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(own[i] >> 32)));
      if (!(above >= state.target)) continue;
      const int32_t id = static_cast<int32_t>(own[i] & 0xffffffffu);
      state.kept = {.threshold = all.Value(row, id), .last_id = id};
      return;
    }
    // Rounding left the total below the target: all are kept.
  }
};

}  // namespace switchyard::kernels::simt
