// DeepSeek-V3. transformers does not read topk_method, scoring_func and moe_layer_freq: the
// selection is always that of the paper. Values that name nothing at all are refused.

#include <algorithm>
#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/mla.h"

namespace switchyard::model {
namespace {

constexpr DeepseekOptions kOptions = {
    .defaults = {.max_positions = 4096, .bos_token = 0, .eos_token = 1},
    .dense_layers = 3,
    .shared_experts = 1};

absl::Status RefuseUnknown(const JsonFields& config, const std::string& key,
                           const std::string& usual, std::initializer_list<const char*> others) {
  ASSIGN_OR_RETURN(const std::string value, config.String(key, usual));
  if (value == usual || std::find(others.begin(), others.end(), value) != others.end()) {
    return absl::OkStatus();
  }
  return config.Unsupported(
      key, absl::StrCat("is \"", value.substr(0, 32), "\"; supported is \"", usual, "\""));
}

absl::StatusOr<RouterSpec> ParseChoice(const JsonFields& config) {
  RETURN_IF_ERROR(RefuseUnknown(config, "scoring_func", "sigmoid", {"softmax"}));
  RETURN_IF_ERROR(
      RefuseUnknown(config, "topk_method", "noaux_tc", {"greedy", "group_limited_greedy"}));
  ASSIGN_OR_RETURN(RouterSpec router, ParseRouter(config, "deepseek-v3", "n_routed_experts"));
  router.correction_bias = true;
  ASSIGN_OR_RETURN(router.renormalize, config.Bool("norm_topk_prob", true));
  ASSIGN_OR_RETURN(router.scale, config.Number("routed_scaling_factor", 0, 1e6, 2.5));
  RETURN_IF_ERROR(ParseGroups(config, /*scored=*/2, router));
  return router;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const RouterSpec router, ParseChoice(config));
  DeepseekOptions options = kOptions;
  ASSIGN_OR_RETURN(options.interleaved, config.Bool("rope_interleave", true));
  return ParseDeepseek(config, options, router, spec);
}

}  // namespace

constinit const Family kDeepseekV3 = {
    .model_type = "deepseek_v3", .parse = Parse, .names = kDeepseekNames};

}  // namespace switchyard::model
