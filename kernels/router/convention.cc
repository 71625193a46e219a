#include "kernels/router/convention.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace switchyard::kernels {
namespace {

template <typename... Parts>
absl::Status Bad(const RouterConvention& convention, const Parts&... parts) {
  return absl::InvalidArgumentError(
      absl::StrCat("router convention '", std::string(convention.name), "': ", parts...));
}

absl::Status CheckShape(const RouterConvention& c, int64_t experts, int64_t k) {
  if (experts < 1 || experts > kMaxRouterExperts) {
    return Bad(c, experts, " experts; 1 to ", kMaxRouterExperts, " are possible");
  }
  const int64_t most = std::min(experts, kMaxRouterChoices);
  if (k < 1 || k > most) return Bad(c, "k is ", k, "; 1 to ", most, " are possible");
  if (c.required_k != 0 && k != c.required_k) return Bad(c, "k is ", k, ", not ", c.required_k);
  return absl::OkStatus();
}

absl::Status CheckGroups(const RouterConvention& c, int64_t experts, int64_t k) {
  if (c.groups < 1 || experts % c.groups != 0) {
    return Bad(c, experts, " experts do not divide into ", c.groups, " groups");
  }
  if (c.kept_groups < 1 || c.kept_groups > c.groups) {
    return Bad(c, "keeps ", c.kept_groups, " of ", c.groups, " groups");
  }
  if (c.groups == 1) return absl::OkStatus();
  const int64_t size = experts / c.groups;
  if (k > c.kept_groups * size) {
    return Bad(c, "k is ", k, ", but the kept groups have ", c.kept_groups * size, " experts");
  }
  if (c.selection != Selection::kTopK || c.scoring == Scoring::kSoftmaxOfChosen) {
    return Bad(c, "only top-k of softmax or sigmoid scores can be limited to groups");
  }
  if (c.group_score == GroupScore::kTop2Sum) {
    if (c.scoring != Scoring::kSigmoid) return Bad(c, "a top-2 sum needs sigmoid scores");
    if (size < 2) return Bad(c, "a top-2 sum needs two experts a group");
  }
  return absl::OkStatus();
}

absl::Status CheckSelection(const RouterConvention& c, int64_t k) {
  if (c.correction_bias && (c.scoring != Scoring::kSigmoid || c.selection != Selection::kTopK)) {
    return Bad(c, "a correction bias needs top-k of sigmoid scores");
  }
  switch (c.selection) {
    case Selection::kTopK:
      return absl::OkStatus();
    case Selection::kSparseMixer:
    case Selection::kSampledSecond:
      if (k != 2) return Bad(c, "k is ", k, ", not 2");
      if (c.scoring != Scoring::kSoftmax) return Bad(c, "needs softmax scores");
      if (!(c.mixer_jitter >= 0.0f)) return Bad(c, "mixer_jitter is ", c.mixer_jitter);
      return absl::OkStatus();
    case Selection::kNoisyTopK:
      if (c.scoring != Scoring::kSoftmaxOfChosen) return Bad(c, "needs a softmax of the chosen");
      if (!(c.noise_epsilon >= 0.0f)) return Bad(c, "noise_epsilon is ", c.noise_epsilon);
      return absl::OkStatus();
    case Selection::kExpertChoice:
      return Bad(c,
                 "experts that choose among tokens look at later tokens, so it can train but "
                 "not serve: use ExpertChoice()");
  }
  return Bad(c, "unknown selection");
}

absl::Status CheckWeights(const RouterConvention& c) {
  if (!std::isfinite(c.scale) || c.scale <= 0.0f) return Bad(c, "scale is ", c.scale);
  if (!(c.norm_floor >= 0.0f) || !(c.norm_added >= 0.0f)) {
    return Bad(c, "norm_floor is ", c.norm_floor, " and norm_added ", c.norm_added);
  }
  // Otherwise a token that keeps no expert divides by zero.
  if (c.normalization == Normalization::kKept && c.norm_floor + c.norm_added == 0.0f) {
    return Bad(c, "normalisation after drops needs norm_floor or norm_added");
  }
  return absl::OkStatus();
}

absl::Status CheckCapacity(const RouterConvention& c, int64_t k) {
  const CapacityRule& rule = c.capacity;
  if (!std::isfinite(rule.factor) || rule.factor < 0.0) {
    return Bad(c, "capacity factor is ", rule.factor);
  }
  if (rule.formula == CapacityFormula::kFixed && rule.fixed < 1) {
    return Bad(c, "fixed capacity is ", rule.fixed);
  }
  if (rule.expert_parallel < 1) return Bad(c, "expert_parallel is ", rule.expert_parallel);
  if (c.capacity_scope == CapacityScope::kGroup && c.group_rows < 1) {
    return Bad(c, "group_rows is ", c.group_rows);
  }
  if (c.second.policy == SecondPolicy::kAll) return absl::OkStatus();
  if (k != 2) return Bad(c, "k is ", k, "; a second-expert policy needs 2");
  if (!(c.second.threshold > 0.0f)) return Bad(c, "second threshold is ", c.second.threshold);
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckConvention(const RouterConvention& convention, int64_t experts, int64_t k) {
  absl::Status status = CheckShape(convention, experts, k);
  status.Update(CheckSelection(convention, k));
  if (status.ok()) status = CheckGroups(convention, experts, k);
  status.Update(CheckWeights(convention));
  status.Update(CheckCapacity(convention, k));
  return status;
}

}  // namespace switchyard::kernels
