// gpt-oss: attention sinks, alternating windows, biases everywhere, clamped SwiGLU experts.
// hidden_act, experts_per_token and initial_context_length are not read: neither does transformers.

#include <utility>
#include <vector>

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"
#include "services/model/families/rope_config.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.rope_theta = 150000,
                                .norm_epsilon = 1e-5,
                                .max_positions = 131072,
                                .kv_heads = 8,
                                .head_dim = 64,
                                .eos_token = 200002};

absl::StatusOr<FfnSpec> ParseExperts(const JsonFields& config) {
  FfnSpec ffn = {.activation = Activation::kClampedSwiGlu, .bias = true};
  ASSIGN_OR_RETURN(ffn.intermediate, config.Integer("intermediate_size", 1, kMaxWidth));
  ASSIGN_OR_RETURN(ffn.limit, config.Number("swiglu_limit", 1e-6, 1e6, 7));
  ASSIGN_OR_RETURN(ffn.router, ParseRouter(config, "gpt-oss", "num_local_experts"));
  ffn.router->renormalize = false;  // the softmax is over the chosen alone
  ffn.router->bias = true;
  return ffn;
}

absl::StatusOr<RopeSpec> ParsePositions(const JsonFields& config, int64_t head_dim,
                                        int64_t max_positions) {
  ASSIGN_OR_RETURN(RopeSpec rope, ParseRope(config, {.theta = kDefaults.rope_theta,
                                                     .head_dim = head_dim,
                                                     .max_positions = max_positions}));
  if (config.Has("rope_scaling") || config.Has("rope_parameters")) return rope;
  rope.kind = RopeKind::kYarn;  // the configuration class's own default
  rope.factor = 32;
  rope.truncate = false;
  rope.original_max_positions = 4096;
  return rope;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, kDefaults));
  layer.attention.sinks = true;
  RETURN_IF_ERROR(ParseAttentionBias(config, true, layer.attention));
  ASSIGN_OR_RETURN(layer.ffn, ParseExperts(config));
  spec.layers.assign(static_cast<size_t>(layers), layer);
  ASSIGN_OR_RETURN(spec.rope, ParsePositions(config, layer.attention.head_dim, spec.max_positions));

  ASSIGN_OR_RETURN(const int64_t window, config.Integer("sliding_window", 1, kMaxPositions, 128));
  std::vector<bool> sliding(spec.layers.size());
  for (size_t i = 0; i < sliding.size(); i += 2) sliding[i] = true;
  ASSIGN_OR_RETURN(sliding, ParseLayerTypes(config, std::move(sliding)));
  for (size_t i = 0; i < sliding.size(); ++i) {
    if (sliding[i]) spec.layers[i].attention.sliding_window = window;
  }
  return absl::OkStatus();
}

}  // namespace

constinit const Family kGptOss = {
    .model_type = "gpt_oss",
    .parse = Parse,
    .names = {.layer = {.router = "mlp.router"}, .alternating_experts = true}};

}  // namespace switchyard::model
