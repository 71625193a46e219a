#include "kernels/router/capacity.h"

#include <algorithm>
#include <cmath>

namespace switchyard::kernels {
namespace {

int64_t Formula(const CapacityRule& rule, int64_t tokens, int64_t experts, int64_t k) {
  const double t = static_cast<double>(tokens);
  const double e = static_cast<double>(experts);
  const double choices = static_cast<double>(k);
  switch (rule.formula) {
    case CapacityFormula::kUnlimited:
      return kUnlimitedCapacity;
    case CapacityFormula::kFixed:
      return rule.fixed;
    case CapacityFormula::kSwitch:
      return static_cast<int64_t>(t / e * rule.factor);
    case CapacityFormula::kMegatron:
      return static_cast<int64_t>(std::ceil(t * choices / e * rule.factor));
    case CapacityFormula::kDeepSpeed:
      return static_cast<int64_t>(
          std::ceil(static_cast<float>(t / e) * static_cast<float>(rule.factor * choices)));
    case CapacityFormula::kMesh:
      return std::min(tokens, static_cast<int64_t>(t * rule.factor / e));
    case CapacityFormula::kTutel:
      return k * static_cast<int64_t>(rule.factor * std::ceil(t / e));
    case CapacityFormula::kMegablocks:
      return static_cast<int64_t>(rule.factor *
                                  (choices * t * static_cast<double>(rule.expert_parallel) / e));
  }
  return kUnlimitedCapacity;
}

int64_t Minimum(const CapacityRule& rule) {
  if (rule.minimum >= 0) return rule.minimum;
  const bool four =
      rule.formula == CapacityFormula::kDeepSpeed || rule.formula == CapacityFormula::kMesh;
  return four ? 4 : 0;
}

}  // namespace

bool IsLimited(const CapacityRule& rule) {
  if (rule.formula == CapacityFormula::kFixed) return true;
  return rule.formula != CapacityFormula::kUnlimited && rule.factor != 0.0;
}

int64_t ExpertCapacity(const CapacityRule& rule, int64_t tokens, int64_t experts, int64_t k) {
  if (!IsLimited(rule)) return kUnlimitedCapacity;
  return std::max(Formula(rule, tokens, experts, k), Minimum(rule));
}

}  // namespace switchyard::kernels
