#pragma once

// Choice of experts from router logits, fp32 in every class. Equal logits choose the lowest expert
// id; a row without an answer fails alone.

#include <cstdint>

#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Mixtral (and Qwen-MoE with renormalisation): softmax over all experts, top-k, weights divided by
// their sum when `renormalize`.
//
// Definition, for one row: e[i] = Exp(logit[i] - max), total = 16-lane sum of e over the expert ids
// (docs/arithmetic.md, "Other reductions"), p[i] = e[i] / total. The chosen are the k largest
// logits (the exponential could make unequal ones equal), best first. Weights are p[i], or with
// `renormalize` p[i] / (16-lane sum of the chosen p over their rank). A logit of -inf has weight 0
// and may be chosen last. A row fails when a logit is NaN or +inf or all are -inf.
struct SoftmaxTopKArgs {
  const float* logits = nullptr;  // [rows][experts]
  int64_t rows = 0;
  int64_t experts = 0;  // <= 4096
  int64_t k = 0;        // <= min(experts, 64)
  bool renormalize = true;
  int32_t* ids = nullptr;     // [rows][k], best first
  float* weights = nullptr;   // [rows][k], same order
  uint8_t* failed = nullptr;  // [rows], 1 where the row fails (then ids are -1, weights 0), else 0
};

void SoftmaxTopK(const SoftmaxTopKArgs& args, ThreadPool& pool);
void SoftmaxTopKReference(const SoftmaxTopKArgs& args);

}  // namespace switchyard::kernels
