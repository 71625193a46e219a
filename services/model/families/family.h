#pragma once

// A family is a way to fill a ModelSpec from config.json and a table of tensor names. One file each
// in this folder; families.cc lists them.

#include <string_view>

#include "absl/status/status.h"
#include "services/model/json_fields.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// Names of modules below a layer; a module's tensors are NAME.weight and NAME.bias. The defaults
// are those of Llama, which most families share. Which modules a layer has is the spec's matter.
struct AttentionNames {
  std::string_view norm = "input_layernorm";
  std::string_view query = "self_attn.q_proj";
  std::string_view key = "self_attn.k_proj";
  std::string_view value = "self_attn.v_proj";
  std::string_view output = "self_attn.o_proj";
  std::string_view query_norm = "self_attn.q_norm";
  std::string_view key_norm = "self_attn.k_norm";
  std::string_view sinks = "self_attn.sinks";  // a tensor, not a module
  std::string_view relative_bias = "";
};

// Of two matrices the first is `gate`, as in kernels/expert_ffn.
struct FfnNames {
  std::string_view gate = "gate_proj";
  std::string_view up = "up_proj";
  std::string_view down = "down_proj";
};

struct LayerNames {
  std::string_view prefix = "model.layers.";  // the layer's index and a dot follow
  AttentionNames attention;
  AttentionNames cross_attention;
  std::string_view ffn_norm = "post_attention_layernorm";
  std::string_view dense = "mlp.";
  FfnNames dense_ffn;
  std::string_view router = "mlp.gate";
  std::string_view correction_bias = "mlp.gate.e_score_correction_bias";  // a tensor
  std::string_view experts = "mlp.experts.";  // the expert's index and a dot follow
  FfnNames expert_ffn;
  std::string_view shared = "";  // "mlp.shared_experts."; its matrices are called as dense ones
  std::string_view shared_gate = "";  // "mlp.shared_expert_gate"
};

struct FamilyNames {
  std::string_view embedding = "model.embed_tokens";
  // Of an encoder-decoder model that is not tied, where they are there.
  std::string_view encoder_embedding = "";
  std::string_view decoder_embedding = "";
  std::string_view head = "lm_head";
  std::string_view final_norm = "model.norm";
  std::string_view positions = "";  // learned ones
  LayerNames layer;
  LayerNames encoder_layer;
  std::string_view encoder_final_norm = "";
  // transformers 5 holds the experts of a layer as mlp.experts.{gate_up,down}_proj and calls its
  // router so.
  std::string_view fused_router = "mlp.gate";
  bool mtp = false;  // can have a block for multi-token prediction as its last layer
  // The fused tensors are the only ones, inputs before outputs, gate and up alternating (gpt-oss).
  bool alternating_experts = false;
};

struct Family {
  std::string_view model_type;
  // Everything of the spec but the family's name, end tokens and quantisation.
  absl::Status (*parse)(const JsonFields& config, ModelSpec& spec);
  FamilyNames names;
};

extern const Family kDeepseekV2, kDeepseekV3, kGlam, kGlm4Moe, kGptMoe, kGptOss, kLlama, kMixtral,
    kOlmoe, kPhimoe, kQwen2Moe, kQwen3Moe, kSwitch;

}  // namespace switchyard::model
