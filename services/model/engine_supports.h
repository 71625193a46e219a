#pragma once

#include "absl/status/status.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// Ok when the engine can compute the model; else Unimplemented, naming what it lacks. A checkpoint
// of any family can be parsed, checked and loaded; this is the one list of what is still missing
// behind that.
absl::Status EngineSupports(const ModelSpec& spec);

}  // namespace switchyard::model
