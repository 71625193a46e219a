#pragma once

#include "absl/status/status.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// Ok when the engine can compute the model, else what of it cannot be served: a router convention
// that looks at later tokens, say. A checkpoint of any family can be parsed, checked and loaded.
absl::Status EngineSupports(const ModelSpec& spec);

}  // namespace switchyard::model
