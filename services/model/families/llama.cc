// Llama: dense layers only.

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"
#include "services/model/families/rope_config.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.bos_token = 1, .eos_token = 2};

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  RETURN_IF_ERROR(RefuseTrue(config, "mlp_bias", "biases of dense layers are not supported"));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, kDefaults));
  ASSIGN_OR_RETURN(layer.attention.qkv_bias, config.Bool("attention_bias", false));
  layer.attention.output_bias = layer.attention.qkv_bias;
  ASSIGN_OR_RETURN(layer.ffn, ParseDense(config));
  spec.layers.assign(static_cast<size_t>(layers), layer);
  ASSIGN_OR_RETURN(spec.rope, ParseRope(config, {.theta = kDefaults.rope_theta,
                                                 .head_dim = layer.attention.head_dim,
                                                 .max_positions = spec.max_positions}));
  return absl::OkStatus();
}

}  // namespace

constinit const Family kLlama = {.model_type = "llama", .parse = Parse, .names = {}};

}  // namespace switchyard::model
