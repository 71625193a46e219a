#pragma once

// Top-k on GPUs: the k-th largest value by radix selection. Round r finds the r-th hexadecimal
// digit of its key (OrderedKey) from how many of the values with the digits found so far have which
// next.

#include <algorithm>

#include "kernels/sampling/sampled_rows_simt.h"

namespace switchyard::kernels::simt {

struct TopKKernel {
  static constexpr int kThreads = kSamplingThreads;
  static constexpr int kDigits = 16;  // values of a digit
  static constexpr int kRounds = 8;
  static constexpr int kRoundPhases = 4;
  static constexpr int kParts = kThreads / kDigits;
  struct Shared {
    int32_t of_thread[kDigits][kThreads];  // how many values a thread saw with a digit
    int32_t of_part[kDigits][kParts];
    int32_t total[kDigits];
    uint32_t key;  // its digits so far, then zeros
    int32_t rank;  // of the wanted value among those with these digits, from 1
  };
  SampledRows all;

  SWITCHYARD_SIMT int64_t Phases(int64_t row) const {
    const int32_t top_k = all.parameters[row].top_k;
    const bool is_on = all.rows[row].is_drawn && top_k > 0 && top_k < all.vocabulary;
    return is_on ? kRounds * kRoundPhases : 0;
  }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t row, int thread, Shared& shared) const {
    const int round = static_cast<int>(phase / kRoundPhases);
    switch (phase % kRoundPhases) {
      case 0:
        return Count(row, round, thread, shared);
      case 1:
        return JoinPart(thread / kParts, thread % kParts, shared);
      case 2:
        if (thread < kDigits) JoinDigit(thread, shared);
        return;
      default:
        if (thread == 0) ChooseDigit(row, round, shared);
    }
  }

  SWITCHYARD_SIMT static int Shift(int round) { return 28 - 4 * round; }

  SWITCHYARD_SIMT void Count(int64_t row, int round, int thread, Shared& shared) const {
    for (int digit = 0; digit < kDigits; ++digit) shared.of_thread[digit][thread] = 0;
    const uint32_t known = round == 0 ? 0 : ~0u << (Shift(round) + 4);
    const uint32_t wanted = round == 0 ? 0 : shared.key;
    for (int64_t i = thread; i < all.vocabulary; i += kThreads) {
      const uint32_t key = OrderedKey(all.Value(row, i));
      if ((key & known) != wanted) continue;
      ++shared.of_thread[(key >> Shift(round)) % kDigits][thread];
    }
  }

  SWITCHYARD_SIMT static void JoinPart(int digit, int part, Shared& shared) {
    int32_t sum = 0;
    for (int i = part; i < kThreads; i += kParts) sum += shared.of_thread[digit][i];
    shared.of_part[digit][part] = sum;
  }

  SWITCHYARD_SIMT static void JoinDigit(int digit, Shared& shared) {
    int32_t sum = 0;
    for (int part = 0; part < kParts; ++part) sum += shared.of_part[digit][part];
    shared.total[digit] = sum;
  }

  SWITCHYARD_SIMT void ChooseDigit(int64_t row, int round, Shared& shared) const {
    int32_t rank = round == 0 ? all.parameters[row].top_k : shared.rank;
    uint32_t digit = kDigits - 1;
    for (; rank > shared.total[digit]; --digit) rank -= shared.total[digit];
    shared.rank = rank;
    shared.key = (round == 0 ? 0 : shared.key) | digit << Shift(round);
    if (round + 1 < kRounds) return;
    KeptSet& kept = all.rows[row].kept;
    kept.threshold = std::max(kept.threshold, ValueOfKey(shared.key));
  }
};

}  // namespace switchyard::kernels::simt
