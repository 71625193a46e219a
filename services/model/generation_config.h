#pragma once

// generation_config.json: end tokens, for whoever generates, and defaults of sampling, for the
// gateway. Knows no model and no kernel, so that every role may read it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::model {

// Of the file and of requests: a logit divided by less need not be a number.
inline constexpr float kLeastRepetitionPenalty = 1e-5f;

// What the file does not have is absent. A null counts as absent.
struct GenerationConfig {
  std::optional<int64_t> bos_token;
  std::optional<std::vector<int64_t>> eos_tokens;
  std::optional<float> temperature;  // >= 0
  std::optional<float> top_p;        // above 0, at most 1
  std::optional<int32_t> top_k;      // 0: off
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

// `file` is what errors call the text. Token ids must be below `vocabulary`.
absl::StatusOr<GenerationConfig> ParseGenerationConfig(const std::string& text,
                                                       const std::string& file,
                                                       int64_t vocabulary = INT32_MAX);

}  // namespace switchyard::model
