// Phi-3.5-MoE: sparse-mixer routing, LayerNorm with biases, longrope.

#include "kernels/router/convention.h"
#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.rope_theta = 1e6,
                                .norm_epsilon = 1e-5,
                                .max_positions = 131072,
                                .kv_heads = 8,
                                .bos_token = 1,
                                .eos_token = 2};

// Always two picks: num_experts_per_tok is not read, as in transformers.
absl::StatusOr<RouterSpec> ParseMixer(const JsonFields& config) {
  RouterSpec router = {.convention = "phimoe", .top_k = 2, .renormalize = false};
  ASSIGN_OR_RETURN(router.experts,
                   config.Integer("num_local_experts", router.top_k, kernels::kMaxRouterExperts));
  ASSIGN_OR_RETURN(router.mixer_jitter, config.Number("router_jitter_noise", 0, 1e6, 0.01));
  return router;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  spec.norm = NormKind::kLayer;
  ASSIGN_OR_RETURN(spec.head_bias, config.Bool("lm_head_bias", false));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, kDefaults));
  RETURN_IF_ERROR(ParseAttentionBias(config, false, layer.attention));
  ASSIGN_OR_RETURN(layer.attention.sliding_window, ParseWindow(config));
  ASSIGN_OR_RETURN(layer.ffn, ParseDense(config));
  ASSIGN_OR_RETURN(layer.ffn.router, ParseMixer(config));
  return SetEqualLayers(config, kDefaults, layers, layer, spec);
}

}  // namespace

constinit const Family kPhimoe = {
    .model_type = "phimoe",
    .parse = Parse,
    .names = {.layer = {.router = "block_sparse_moe.gate",
                        .experts = "block_sparse_moe.experts.",
                        .expert_ffn = {.gate = "w1", .up = "w3", .down = "w2"}},
              .fused_router = "mlp.router"}};

}  // namespace switchyard::model
