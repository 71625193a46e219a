// Qwen3-MoE: q and k normed per head, no shared expert.

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/sparse_layers.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.max_positions = 32768, .kv_heads = 4};

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, spec.hidden, kDefaults));
  RETURN_IF_ERROR(ParseAttentionBias(config, false, attention));
  attention.qk_norm = QkNorm::kPerHead;
  ASSIGN_OR_RETURN(attention.sliding_window, ParseQwenWindow(config));  // in every layer
  RETURN_IF_ERROR(SetRope(config, kDefaults, attention.head_dim, spec));
  ASSIGN_OR_RETURN(FfnSpec moe, ParseNetwork(config, "moe_intermediate_size"));
  ASSIGN_OR_RETURN(moe.router, ParseRouter(config, "qwen3-moe", "num_experts"));
  ASSIGN_OR_RETURN(moe.router->renormalize, config.Bool("norm_topk_prob", false));
  return SetQwenLayers(config, layers, attention, moe, spec);
}

}  // namespace

constinit const Family kQwen3Moe = {.model_type = "qwen3_moe", .parse = Parse, .names = {}};

}  // namespace switchyard::model
