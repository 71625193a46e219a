// DeepSeek-V2 and V2-Lite. norm_topk_prob and moe_layer_freq are not read: neither does
// transformers.

#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/mla.h"

namespace switchyard::model {
namespace {

constexpr DeepseekOptions kOptions = {
    .defaults = {.bos_token = 0, .eos_token = 1}, .dense_layers = 0, .shared_experts = 2};

absl::StatusOr<RouterSpec> ParseChoice(const JsonFields& config) {
  ASSIGN_OR_RETURN(const std::string method, config.String("topk_method", "greedy"));
  ASSIGN_OR_RETURN(const std::string scoring, config.String("scoring_func", "softmax"));
  if (scoring != "softmax") {
    return config.Unsupported("scoring_func", absl::StrCat("is \"", scoring.substr(0, 32),
                                                           "\"; supported is \"softmax\""));
  }
  ASSIGN_OR_RETURN(RouterSpec router, ParseRouter(config, "deepseek-v2", "n_routed_experts"));
  router.renormalize = false;
  ASSIGN_OR_RETURN(router.scale, config.Number("routed_scaling_factor", 0, 1e6, 1));
  if (method == "greedy") return router;  // which does not read the groups
  if (method != "group_limited_greedy") {
    return config.Unsupported(
        "topk_method", absl::StrCat("is \"", method.substr(0, 32),
                                    "\"; supported are \"greedy\" and \"group_limited_greedy\""));
  }
  RETURN_IF_ERROR(ParseGroups(config, /*scored=*/1, router));
  return router;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const RouterSpec router, ParseChoice(config));
  return ParseDeepseek(config, kOptions, router, spec);
}

}  // namespace

constinit const Family kDeepseekV2 = {.model_type = "deepseek_v2",
                                      .parse = Parse,
                                      .names = {.layer = {.shared = "mlp.shared_experts."}}};

}  // namespace switchyard::model
