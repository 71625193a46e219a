#pragma once

// The ways of choosing, one a file. Each fills the k ids of a row, best first, and their weights
// before normalisation and scale, or returns false when the row has no answer. Internal.

#include <cstdint>

#include "kernels/router/router.h"

namespace switchyard::kernels {

struct RouterRow {
  int64_t index;
  const float* logits;
  int32_t* ids;
  float* weights;
};

using ChooseRow = bool (*)(const RouterArgs& args, const RouterRow& row);

bool ChooseSoftmaxTopK(const RouterArgs& args, const RouterRow& row);
bool ChooseTopKSoftmax(const RouterArgs& args, const RouterRow& row);
bool ChooseGroupLimited(const RouterArgs& args, const RouterRow& row);
bool ChooseSparseMixer(const RouterArgs& args, const RouterRow& row);
bool ChooseNoisyTopK(const RouterArgs& args, const RouterRow& row);
bool ChooseSampledSecond(const RouterArgs& args, const RouterRow& row);

// The softmax over all logits at the chosen ids.
void SetSoftmaxWeights(const RouterArgs& args, const RouterRow& row, float max);

}  // namespace switchyard::kernels
