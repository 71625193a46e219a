#pragma once

// Choice of experts from router logits, fp32 in every class. Equal scores choose the lowest expert
// id, equal tokens the earliest; a row without an answer (a NaN or +inf logit, or nothing but -inf)
// fails alone. Conventions and formulas: convention.h, docs/routing.md.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "kernels/router/convention.h"

namespace switchyard::kernels {

struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct RouterArgs {
  const RouterConvention* convention = nullptr;
  const float* logits = nullptr;  // [rows][experts], the router's own bias included
  int64_t rows = 0;
  int64_t experts = 0;  // <= kMaxRouterExperts
  int64_t k = 0;        // <= min(experts, kMaxRouterChoices)

  const float* bias = nullptr;  // [experts], with correction_bias
  // Consecutive ranges that cover all rows, for CapacityScope::kSequence. Empty: one sequence.
  std::span<const RowRange> sequences = {};

  // Randomness is an input, so a result can be repeated.
  const float* uniform = nullptr;        // [rows] in [0, 1), for SecondPolicy::kRandom
  const float* gumbel = nullptr;         // [rows][experts], kSampledSecond; none: no noise
  const float* noise = nullptr;          // [rows][experts] normal, kNoisyTopK; none: evaluation
  const float* noise_logits = nullptr;   // [rows][experts], x W_noise, where there is noise
  const int32_t* permutation = nullptr;  // [rows], of the rows of each capacity group in its place

  int32_t* ids = nullptr;       // [rows][k], best first; -1: dropped, not sent, or failed
  float* weights = nullptr;     // [rows][k], same order; 0 where the id is -1
  uint8_t* failed = nullptr;    // [rows], 1 where the row fails, else 0
  int32_t* chosen = nullptr;    // [rows][k] or null: ids before any drop (for losses)
  int32_t* position = nullptr;  // [rows][k] or null: place in the expert's queue, -1: none taken
};

// Routes all rows. InvalidArgument, with nothing written, when the arguments do not fit the
// convention. Rows influence each other only through a capacity. Allocates only where choices can
// be dropped or `position` is asked for.
absl::Status Route(const RouterArgs& args, ThreadPool& pool);

// The conventions of softmax top-k without groups ("mixtral", "qwen2-moe"), from the definition:
// e[i] = Exp(logit[i] - max), total = 16-lane sum of e over the expert ids (docs/arithmetic.md,
// "Other reductions"), p[i] = e[i] / total. The chosen are the k largest logits (the exponential
// could make unequal ones equal), best first. Weights are p[i], or with Normalization::kChosen p[i]
// / (16-lane sum of the chosen p over their rank). A logit of -inf has weight 0 and may be chosen
// last. A row fails when a logit is NaN or +inf or all are -inf; then its ids are -1, its weights
// 0.
void SoftmaxTopKReference(const RouterArgs& args);

}  // namespace switchyard::kernels
