#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/math.h"
#include "kernels/router/choose_row.h"
#include "kernels/router/groups.h"
#include "kernels/router/selection.h"

namespace switchyard::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value by which experts are chosen: with softmax the logit, which orders like the probability
// and never makes unequal ones equal; with sigmoid the score itself, which saturates and to which
// the bias is added.
bool SetKeys(const RouterArgs& args, const RouterRow& row, float* keys) {
  if (args.convention->scoring == Scoring::kSoftmax) {
    std::copy_n(row.logits, args.experts, keys);
    return true;
  }
  for (int64_t i = 0; i < args.experts; ++i) {
    keys[i] = Sigmoid(row.logits[i]);
    if (args.convention->correction_bias) keys[i] += args.bias[i];
    if (!(std::abs(keys[i]) < kInfinity)) return false;  // the bias is broken
  }
  return true;
}

// Fills the keys of all groups but the best `kept_groups`.
void MaskGroups(const RouterConvention& convention, int64_t experts, float* keys) {
  const int64_t size = experts / convention.groups;
  float score[kMaxRouterExperts];
  for (int64_t g = 0; g < convention.groups; ++g) {
    score[g] = ScoreOfGroup(convention.group_score, keys + g * size, size);
  }
  int32_t order[kMaxRouterExperts];
  SelectLargest(score, convention.groups, convention.groups, order);
  for (int64_t g = convention.kept_groups; g < convention.groups; ++g) {
    std::fill_n(keys + order[g] * size, size, MaskedKey(convention));
  }
}

}  // namespace

// DeepSeek-V3 and GLM-4.5 (sigmoid, correction bias, group score the sum of the two best), and
// DeepSeek-V2's group_limited_greedy (softmax, group score the maximum): the k best experts of the
// best groups. Weights are the scores without bias.
bool ChooseGroupLimited(const RouterArgs& args, const RouterRow& row) {
  const float max = MaxOrNan(row.logits, args.experts);
  if (max != max) return false;
  float keys[kMaxRouterExperts];
  if (!SetKeys(args, row, keys)) return false;
  if (args.convention->kept_groups < args.convention->groups) {
    MaskGroups(*args.convention, args.experts, keys);
  }
  SelectLargest(keys, args.experts, args.k, row.ids);
  if (args.convention->scoring == Scoring::kSigmoid) {
    for (int64_t r = 0; r < args.k; ++r) row.weights[r] = Sigmoid(row.logits[row.ids[r]]);
    return true;
  }
  SetSoftmaxWeights(args, row, max);
  // One of a masked group is chosen only where the kept ones have nothing but -inf left.
  for (int64_t r = 0; r < args.k; ++r) {
    if (keys[row.ids[r]] == -kInfinity) row.weights[r] = 0.0f;
  }
  return true;
}

}  // namespace switchyard::kernels
