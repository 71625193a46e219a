// GLM-4.5: grouped-query attention with partial rope, routing and experts as in DeepSeek-V3.

#include "services/base/status_macros.h"
#include "services/model/families/mla.h"
#include "services/model/families/rope_config.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {
    .norm_epsilon = 1e-5, .max_positions = 131072, .kv_heads = 8, .head_dim = 128};

absl::StatusOr<RouterSpec> ParseChoice(const JsonFields& config) {
  ASSIGN_OR_RETURN(RouterSpec router, ParseRouter(config, "glm4-moe", "n_routed_experts"));
  router.correction_bias = true;
  ASSIGN_OR_RETURN(router.renormalize, config.Bool("norm_topk_prob", true));
  ASSIGN_OR_RETURN(router.scale, config.Number("routed_scaling_factor", 0, 1e6, 1));
  RETURN_IF_ERROR(ParseGroups(config, /*scored=*/2, router));
  return router;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, spec.hidden, kDefaults));
  ASSIGN_OR_RETURN(attention.qkv_bias, config.Bool("attention_bias", false));  // and none on o_proj
  ASSIGN_OR_RETURN(const bool qk_norm, config.Bool("use_qk_norm", false));
  if (qk_norm) attention.qk_norm = QkNorm::kPerHead;
  ASSIGN_OR_RETURN(spec.rope, ParseRope(config, {.theta = kDefaults.rope_theta,
                                                 .head_dim = attention.head_dim,
                                                 .max_positions = spec.max_positions,
                                                 .partial = true,
                                                 .default_partial = 0.5}));
  ASSIGN_OR_RETURN(const RouterSpec router, ParseChoice(config));
  ASSIGN_OR_RETURN(const FfnSpec moe, ParseDeepseekMoe(config, router, /*default_shared=*/1));
  return SetDenseFirst(config, layers, /*default_dense=*/1, attention, moe, spec);
}

}  // namespace

constinit const Family kGlm4Moe = {
    .model_type = "glm4_moe", .parse = Parse, .names = kDeepseekNames};

}  // namespace switchyard::model
