#pragma once

// config.json of the Hugging Face families that Switchyard runs, in the
// spelling of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters), as a ModelSpec.
//
// Keys that give the model its dimensions are required; the others take transformers' defaults.
// What is set and cannot be honoured is refused, never ignored, except keys that transformers
// itself does not read (families/): kinds of quantisation, rope, activation or router that are not
// known, contradictory sizes, code to execute (auto_map).

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// `text` is the file's content, `file` what errors call it.
absl::StatusOr<ModelSpec> ParseConfig(const std::string& text, const std::string& file);

// Begin and end tokens of generation_config.json; those it has replace the spec's.
absl::Status ApplyGenerationConfig(const std::string& text, const std::string& file,
                                   ModelSpec& spec);

}  // namespace switchyard::model
