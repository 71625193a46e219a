#include "services/model/generation_config.h"

#include "services/base/status_macros.h"
#include "services/model/json_fields.h"

namespace switchyard::model {
namespace {

constexpr double kLeastTopP = 1e-6;  // with 0 no token would be left

absl::Status ReadFloat(const JsonFields& config, const std::string& key, double low, double high,
                       std::optional<float>& value) {
  if (!config.Has(key)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const double number, config.Number(key, low, high));
  value = static_cast<float>(number);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationConfig> ParseGenerationConfig(const std::string& text,
                                                       const std::string& file,
                                                       int64_t vocabulary) {
  ASSIGN_OR_RETURN(const JsonFields json, JsonFields::Parse(text, file));
  GenerationConfig config;
  if (json.Has("bos_token_id")) {
    ASSIGN_OR_RETURN(config.bos_token, json.Integer("bos_token_id", 0, vocabulary - 1));
  }
  if (json.Has("eos_token_id")) {
    ASSIGN_OR_RETURN(config.eos_tokens, json.Integers("eos_token_id", 0, vocabulary - 1));
  }
  RETURN_IF_ERROR(ReadFloat(json, "temperature", 0, 1e6, config.temperature));
  RETURN_IF_ERROR(ReadFloat(json, "top_p", kLeastTopP, 1, config.top_p));
  RETURN_IF_ERROR(ReadFloat(json, "min_p", 0, 1, config.min_p));
  RETURN_IF_ERROR(ReadFloat(json, "repetition_penalty", kLeastRepetitionPenalty, 1e6,
                            config.repetition_penalty));
  if (json.Has("top_k")) {
    ASSIGN_OR_RETURN(const int64_t top_k, json.Integer("top_k", 0, INT32_MAX));
    config.top_k = static_cast<int32_t>(top_k);
  }
  return config;
}

}  // namespace switchyard::model
