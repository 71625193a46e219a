#include "services/model/router_convention.h"

#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

using kernels::CapacityFormula;

kernels::CapacityRule CapacityOf(const RouterSpec& router, bool decode) {
  if (router.capacity > 0) {
    // A token that is generated is a sequence of its own, and any capacity has room for it.
    if (decode) return {};
    return {.formula = CapacityFormula::kFixed, .fixed = router.capacity};
  }
  const double factor = decode ? router.decode_capacity_factor : router.capacity_factor;
  if (factor == 0) return {};
  return {.formula = CapacityFormula::kMegatron, .factor = factor, .minimum = 1};
}

}  // namespace

absl::StatusOr<kernels::RouterConvention> ConventionOf(const RouterSpec& router, bool decode) {
  ASSIGN_OR_RETURN(kernels::RouterConvention convention,
                   kernels::FindConvention(router.convention));
  convention.groups = router.groups;
  convention.kept_groups = router.kept_groups;
  convention.correction_bias = router.correction_bias;
  convention.scale = static_cast<float>(router.scale);
  convention.mixer_jitter = static_cast<float>(router.mixer_jitter);
  convention.normalization =
      router.renormalize ? kernels::Normalization::kChosen : kernels::Normalization::kNone;
  convention.capacity = CapacityOf(router, decode);
  convention.capacity_scope = kernels::CapacityScope::kSequence;
  RETURN_IF_ERROR(kernels::CheckConvention(convention, router.experts, router.top_k));
  return convention;
}

}  // namespace switchyard::model
