#pragma once

// Choice of experts from router logits, fp32 in every class. Equal scores choose the lowest expert
// id; a row with a NaN logit fails alone.

#include <cstdint>

#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Mixtral (and Qwen-MoE with renormalisation): softmax over all experts, top-k, weights divided by
// their sum when `renormalize`.
struct SoftmaxTopKArgs {
  const float* logits = nullptr;  // [rows][experts]
  int64_t rows = 0;
  int64_t experts = 0;  // <= 4096
  int64_t k = 0;        // <= min(experts, 64)
  bool renormalize = true;
  int32_t* ids = nullptr;      // [rows][k], best first
  float* weights = nullptr;    // [rows][k], same order
  uint8_t* failed = nullptr;   // [rows], 1 where a logit is NaN (then ids are -1, weights 0)
};

void SoftmaxTopK(const SoftmaxTopKArgs& args, ThreadPool& pool);
void SoftmaxTopKReference(const SoftmaxTopKArgs& args);

}  // namespace switchyard::kernels
