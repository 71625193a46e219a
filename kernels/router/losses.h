#pragma once

// The losses that keep experts balanced, as values (no gradients). Which, and how scaled, says the
// convention; every named one of the fixtures is a BalanceLoss (FindBalanceLoss). Sums over tokens
// and over experts are 16-lane sums in fp32. Rows without an answer are left out.

#include <cstdint>
#include <span>

#include "kernels/router/router.h"

namespace switchyard::kernels {

struct LossArgs {
  const float* logits = nullptr;  // [rows][experts]; several layers: their rows one after another
  int64_t rows = 0;
  int64_t experts = 0;
  int64_t k = 0;
  const int32_t* chosen = nullptr;  // [rows][k], RouterArgs::chosen; not read with kTopScores
  std::span<const RowRange> sequences = {};  // for LossScope::kSequence; empty: one
  int64_t layers = 1;                        // of the model, for per_layer
  int64_t devices = 1;       // consecutive experts each, for LossUnit::kDevice and kCommunication
  int64_t device_limit = 1;  // M: devices that a token may reach, for kCommunication
  // Counts of all data-parallel ranks (and of earlier accumulation steps) and how many rows they
  // come from: then the result is this rank's part of Megatron's global loss. Null: of these rows.
  const int64_t* counts = nullptr;  // [experts]
  int64_t count_rows = 0;
};

// With share_i = count_i / T and P_i = mean over the T rows of p_ti:
//   kExpert         coefficient * scale * sum_i share_i P_i
//   kDevice         the same over devices, with the mean of share_i and the sum of P_i
//   kCommunication  coefficient * devices / device_limit * sum_d (share of tokens that go to d) P_d
// and for LossScope::kSequence the mean of that over the sequences.
float BalanceLossValue(const BalanceLoss& loss, const LossArgs& args);

// Mean over rows of logsumexp(logits)^2 (arXiv 2202.08906 eq. 5).
float ZLoss(const LossArgs& args);

// The balance loss of the convention plus z_coefficient * ZLoss.
float RouterLoss(const RouterConvention& convention, const LossArgs& args);

}  // namespace switchyard::kernels
