// GLaM: every other layer has experts, a table of relative positions in every layer, capacity.

#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {};
constexpr char kActivation[] = "gelu_new";

absl::StatusOr<AttentionSpec> ParseRelative(const JsonFields& config, int64_t hidden) {
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, hidden, kDefaults));
  ASSIGN_OR_RETURN(const bool scaled, config.Bool("scale_attn_weights", true));
  if (!scaled) attention.scale = 1;
  ASSIGN_OR_RETURN(attention.relative, ParseRelativeBias(config));
  return attention;
}

absl::Status RequireOnly(const JsonFields& config, const std::string& key,
                         const std::string& supported) {
  ASSIGN_OR_RETURN(const std::string value, config.String(key, supported));
  if (value == supported) return absl::OkStatus();
  return config.Unsupported(
      key, absl::StrCat("is \"", value.substr(0, 32), "\"; supported is \"", supported, "\""));
}

absl::StatusOr<RouterSpec> ParseChoice(const JsonFields& config) {
  ASSIGN_OR_RETURN(RouterSpec router, ParseRouter(config, "glam", "num_local_experts"));
  if (router.top_k != 2) {
    return config.Unsupported("num_experts_per_tok",
                              absl::StrCat("is ", router.top_k, "; GLaM chooses 2"));
  }
  RETURN_IF_ERROR(RequireOnly(config, "expert_capacity_group", "sequence"));
  RETURN_IF_ERROR(RequireOnly(config, "second_expert_policy", "all"));
  ASSIGN_OR_RETURN(router.capacity_factor, config.Number("expert_capacity_factor", 1e-6, 1e6, 0));
  ASSIGN_OR_RETURN(router.decode_capacity_factor,
                   config.Number("eval_expert_capacity_factor", 1e-6, 1e6, 0));
  return router;
}

absl::StatusOr<FfnSpec> ParseMoe(const JsonFields& config) {
  ASSIGN_OR_RETURN(FfnSpec moe, ParseNetwork(config, "moe_intermediate_size", kActivation));
  moe.gated = false;
  ASSIGN_OR_RETURN(moe.router, ParseChoice(config));
  return moe;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  spec.positions = PositionKind::kRelative;
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseRelative(config, spec.hidden));
  ASSIGN_OR_RETURN(const FfnSpec moe, ParseMoe(config));
  ASSIGN_OR_RETURN(const FfnSpec dense, ParseNetwork(config, "intermediate_size", kActivation));
  ASSIGN_OR_RETURN(const int64_t period, config.Integer("moe_layer_period", 1, kMaxLayers, 2));
  ASSIGN_OR_RETURN(const int64_t offset,
                   config.Integer("moe_layer_offset", 0, period - 1, period - 1));
  for (int64_t i = 0; i < layers; ++i) {
    layer.ffn = i % period == offset ? moe : dense;
    spec.layers.push_back(layer);
  }
  return absl::OkStatus();
}

}  // namespace

constinit const Family kGlam = {
    .model_type = "glam",
    .parse = Parse,
    .names = {.embedding = "transformer.wte",
              .final_norm = "transformer.ln_f",
              .layer = {.prefix = "transformer.h.",
                        .attention = {.norm = "ln_1",
                                      .query = "attn.q_proj",
                                      .key = "attn.k_proj",
                                      .value = "attn.v_proj",
                                      .output = "attn.o_proj",
                                      .relative_bias = "attn.relative_attention_bias"},
                        .ffn_norm = "ln_2",
                        .router = "moe.gate",
                        .experts = "moe.experts.",
                        .expert_ffn = {.gate = "fc_in", .down = "fc_out"}}}};

}  // namespace switchyard::model
