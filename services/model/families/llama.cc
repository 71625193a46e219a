// Llama: dense layers only.

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.bos_token = 1, .eos_token = 2};

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, kDefaults));
  RETURN_IF_ERROR(ParseAttentionBias(config, false, layer.attention));
  ASSIGN_OR_RETURN(layer.ffn, ParseDense(config));
  ASSIGN_OR_RETURN(layer.ffn.bias, config.Bool("mlp_bias", false));
  return SetEqualLayers(config, kDefaults, layers, layer, spec);
}

}  // namespace

constinit const Family kLlama = {.model_type = "llama", .parse = Parse, .names = {}};

}  // namespace switchyard::model
