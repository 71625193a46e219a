// Mixtral 8x7B and 8x22B; also the fine-grained 6.9B model.

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

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  RETURN_IF_ERROR(RefuseTrue(config, "attention_bias", "Mixtral has no biases"));
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, kDefaults));
  ASSIGN_OR_RETURN(layer.attention.sliding_window, ParseWindow(config));
  ASSIGN_OR_RETURN(layer.ffn, ParseDense(config));
  ASSIGN_OR_RETURN(layer.ffn.router, ParseRouter(config, "mixtral", "num_local_experts"));
  return SetEqualLayers(config, kDefaults, layers, layer, spec);
}

}  // namespace

constinit const Family kMixtral = {
    .model_type = "mixtral",
    .parse = Parse,
    .names = {.layer = {.router = "block_sparse_moe.gate",
                        .experts = "block_sparse_moe.experts.",
                        .expert_ffn = {.gate = "w1", .up = "w3", .down = "w2"}}}};

}  // namespace switchyard::model
