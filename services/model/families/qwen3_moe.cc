// Qwen3-MoE: q and k normed per head, no shared expert.

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/rope_config.h"
#include "services/model/families/sparse_layers.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.max_positions = 32768, .kv_heads = 4};

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, spec.hidden, kDefaults));
  ASSIGN_OR_RETURN(attention.qkv_bias, config.Bool("attention_bias", false));
  attention.output_bias = attention.qkv_bias;
  attention.qk_norm = QkNorm::kPerHead;
  ASSIGN_OR_RETURN(attention.sliding_window, ParseQwenWindow(config));  // in every layer
  ASSIGN_OR_RETURN(spec.rope, ParseRope(config, {.theta = kDefaults.rope_theta,
                                                 .head_dim = attention.head_dim,
                                                 .max_positions = spec.max_positions}));
  FfnSpec moe;
  ASSIGN_OR_RETURN(moe.intermediate, config.Integer("moe_intermediate_size", 1, kMaxWidth));
  ASSIGN_OR_RETURN(moe.activation, ParseActivation(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(moe.router, ParseRouter(config, "qwen3-moe", "num_experts"));
  ASSIGN_OR_RETURN(moe.router->renormalize, config.Bool("norm_topk_prob", false));
  return SetQwenLayers(config, layers, attention, moe, spec);
}

}  // namespace

constinit const Family kQwen3Moe = {.model_type = "qwen3_moe", .parse = Parse, .names = {}};

}  // namespace switchyard::model
