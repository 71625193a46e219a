#pragma once

#include "absl/status/statusor.h"
#include "kernels/router/convention.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// The convention that `router` names with the overrides of its checkpoint. `decode`: for tokens
// that are generated one at a time, where GLaM has a capacity of its own.
absl::StatusOr<kernels::RouterConvention> ConventionOf(const RouterSpec& router, bool decode);

}  // namespace switchyard::model
