#include "services/model/engine_supports.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"
#include "services/model/router_convention.h"

namespace switchyard::model {
namespace {

// Something that the engine cannot compute yet.
struct Missing {
  const char* what;
  bool (*model)(const ModelSpec& spec);
  bool (*layer)(const LayerSpec& layer);  // that any layer has
};

// Take a line out when the engine can do it.
constexpr Missing kMissing[] = {
    {"relative positions",
     [](const ModelSpec& spec) { return spec.positions == PositionKind::kRelative; }, nullptr},
    {"a scale of the logits", [](const ModelSpec& spec) { return spec.logit_scale != 1; }, nullptr},
    {"an encoder", [](const ModelSpec& spec) { return !spec.encoder_layers.empty(); }, nullptr},
    {"expert capacity", nullptr,
     [](const LayerSpec& layer) {
       const auto& router = layer.ffn.router;
       return router && (router->capacity > 0 || router->capacity_factor > 0);
     }},
};

bool Has(const ModelSpec& spec, const Missing& missing) {
  if (missing.model != nullptr) return missing.model(spec);
  for (const LayerSpec& layer : spec.layers) {
    if (missing.layer(layer)) return true;
  }
  return false;
}

}  // namespace

absl::Status EngineSupports(const ModelSpec& spec) {
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.ffn.router) continue;
    RETURN_IF_ERROR(ConventionOf(*layer.ffn.router, /*decode=*/true).status());
  }
  std::vector<std::string> lacks;
  for (const Missing& missing : kMissing) {
    if (Has(spec, missing)) lacks.emplace_back(missing.what);
  }
  if (lacks.empty()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("model_type is \"", spec.family,
                   "\", and this cannot be computed yet: ", absl::StrJoin(lacks, ", ")));
}

}  // namespace switchyard::model
