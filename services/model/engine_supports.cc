#include "services/model/engine_supports.h"

#include "services/base/status_macros.h"
#include "services/model/router_convention.h"

namespace switchyard::model {

absl::Status EngineSupports(const ModelSpec& spec) {
  for (const int64_t layer : spec.MoeBlocks()) {
    const RouterSpec& router = *spec.Block(layer).ffn.router;
    RETURN_IF_ERROR(ConventionOf(router, /*decode=*/false).status());
    RETURN_IF_ERROR(ConventionOf(router, /*decode=*/true).status());
  }
  return absl::OkStatus();
}

}  // namespace switchyard::model
