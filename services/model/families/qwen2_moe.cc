// Qwen1.5-MoE and Qwen2-MoE: biases on q, k and v, a shared expert behind a sigmoid gate.

#include <utility>
#include <vector>

#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/sparse_layers.h"

namespace switchyard::model {
namespace {

constexpr Defaults kDefaults = {.max_positions = 32768, .kv_heads = 16};

// Even layers below max_window_layers slide, unless layer_types says otherwise.
absl::Status SetWindows(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t window, ParseQwenWindow(config));
  ASSIGN_OR_RETURN(const int64_t last, config.Integer("max_window_layers", 0, kMaxLayers, 28));
  std::vector<bool> sliding(spec.layers.size());
  for (size_t layer = 0; layer < sliding.size(); ++layer) {
    sliding[layer] = layer % 2 == 0 && static_cast<int64_t>(layer) < last;
  }
  ASSIGN_OR_RETURN(sliding, ParseLayerTypes(config, std::move(sliding)));
  for (size_t layer = 0; layer < sliding.size(); ++layer) {
    if (sliding[layer]) spec.layers[layer].attention.sliding_window = window;
  }
  return absl::OkStatus();
}

absl::StatusOr<FfnSpec> ParseMoe(const JsonFields& config) {
  ASSIGN_OR_RETURN(FfnSpec moe, ParseNetwork(config, "moe_intermediate_size"));
  ASSIGN_OR_RETURN(moe.router, ParseRouter(config, "qwen2-moe", "num_experts"));
  ASSIGN_OR_RETURN(moe.router->renormalize, config.Bool("norm_topk_prob", false));
  SharedExpertSpec shared = {.sigmoid_gate = true};
  ASSIGN_OR_RETURN(shared.intermediate,
                   config.Integer("shared_expert_intermediate_size", 1, kMaxWidth));
  moe.shared = shared;
  return moe;
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, kDefaults, spec));
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseAttention(config, spec.hidden, kDefaults));
  ASSIGN_OR_RETURN(attention.qkv_bias, config.Bool("qkv_bias", true));
  RETURN_IF_ERROR(SetRope(config, kDefaults, attention.head_dim, spec));
  ASSIGN_OR_RETURN(const FfnSpec moe, ParseMoe(config));
  RETURN_IF_ERROR(SetQwenLayers(config, layers, attention, moe, spec));
  return SetWindows(config, spec);
}

}  // namespace

constinit const Family kQwen2Moe = {
    .model_type = "qwen2_moe",
    .parse = Parse,
    .names = {.layer = {.shared = "mlp.shared_expert.", .shared_gate = "mlp.shared_expert_gate"}}};

}  // namespace switchyard::model
