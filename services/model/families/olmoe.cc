// OLMoE: q and k normed over the whole projection, then q, k and v clipped.

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.norm_epsilon = 1e-5, .max_positions = 4096, .eos_token = 50279};

absl::StatusOr<AttentionSpec> ParseNormedAttention(const JsonFields& config, int64_t hidden) {
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, hidden, kDefaults));
  // The norm's width is hidden_size / num_attention_heads a head, so another width cannot be.
  if (attention.head_dim * attention.heads != hidden) {
    return config.Error("head_dim",
                        absl::StrCat("(", attention.head_dim, ") times num_attention_heads (",
                                     attention.heads, ") is not hidden_size (", hidden, ")"));
  }
  RETURN_IF_ERROR(ParseAttentionBias(config, false, attention));
  attention.qk_norm = QkNorm::kProjection;
  ASSIGN_OR_RETURN(attention.clip_qkv, config.Number("clip_qkv", 1e-6, 1e6, 0));
  return attention;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseNormedAttention(config, spec.hidden));
  ASSIGN_OR_RETURN(layer.ffn, ParseDense(config));
  ASSIGN_OR_RETURN(layer.ffn.router, ParseRouter(config, "olmoe", "num_experts"));
  ASSIGN_OR_RETURN(layer.ffn.router->renormalize, config.Bool("norm_topk_prob", false));
  return SetEqualLayers(config, kDefaults, layers, layer, spec);
}

}  // namespace

constinit const Family kOlmoe = {.model_type = "olmoe", .parse = Parse, .names = {}};

}  // namespace switchyard::model
