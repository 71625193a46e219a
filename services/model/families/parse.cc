#include "services/model/families/parse.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/router/convention.h"
#include "services/base/status_macros.h"
#include "services/model/families/rope_config.h"

namespace switchyard::model {

absl::StatusOr<int64_t> ParseDimensions(const JsonFields& config, const Defaults& defaults,
                                        ModelSpec& spec) {
  ASSIGN_OR_RETURN(spec.hidden, config.Integer("hidden_size", 1, kMaxWidth));
  ASSIGN_OR_RETURN(spec.vocabulary, config.Integer("vocab_size", 1, kMaxVocabulary));
  ASSIGN_OR_RETURN(const int64_t layers, config.Integer("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(spec.max_positions, config.Integer("max_position_embeddings", 1, kMaxPositions,
                                                      defaults.max_positions));
  ASSIGN_OR_RETURN(const double epsilon,
                   config.Number("rms_norm_eps", 0, 1, defaults.norm_epsilon));
  spec.norm_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(spec.tied_embeddings, config.Bool("tie_word_embeddings", false));
  RETURN_IF_ERROR(ParseTokens(config, defaults.bos_token, defaults.eos_token, spec));
  return layers;
}

absl::Status ParseTokens(const JsonFields& config, int64_t default_bos, int64_t default_eos,
                         ModelSpec& spec) {
  const int64_t last = spec.vocabulary - 1;
  if (config.Has("bos_token_id")) {
    ASSIGN_OR_RETURN(spec.bos_token, config.Integer("bos_token_id", 0, last));
  } else if (!config.IsNull("bos_token_id") && default_bos <= last) {
    spec.bos_token = default_bos;
  }
  if (config.Has("eos_token_id")) {
    ASSIGN_OR_RETURN(spec.eos_tokens, config.Integers("eos_token_id", 0, last));
  } else if (!config.IsNull("eos_token_id") && default_eos >= 0 && default_eos <= last) {
    spec.eos_tokens = {default_eos};
  }
  return absl::OkStatus();
}

absl::StatusOr<AttentionSpec> ParseAttention(const JsonFields& config, int64_t hidden,
                                             const Defaults& defaults) {
  AttentionSpec attention;
  ASSIGN_OR_RETURN(attention.heads, config.Integer("num_attention_heads", 1, kMaxHeads));
  // An explicit null means one kv head a query head in every family.
  const bool as_heads = defaults.kv_heads == 0 || config.IsNull("num_key_value_heads");
  ASSIGN_OR_RETURN(attention.kv_heads,
                   config.Integer("num_key_value_heads", 1, attention.heads,
                                  as_heads ? attention.heads : defaults.kv_heads));
  if (attention.heads % attention.kv_heads != 0) {
    return config.Error(
        "num_key_value_heads",
        absl::StrCat("(", attention.kv_heads, ") does not divide num_attention_heads (",
                     attention.heads, ")"));
  }
  const bool computed = !config.Has("head_dim") && defaults.head_dim == 0;
  if (computed && hidden % attention.heads != 0) {
    return config.Error("num_attention_heads",
                        absl::StrCat("(", attention.heads, ") does not divide hidden_size (",
                                     hidden, ") and there is no head_dim"));
  }
  ASSIGN_OR_RETURN(attention.head_dim,
                   config.Integer("head_dim", 1, kMaxHeadDim,
                                  computed ? hidden / attention.heads : defaults.head_dim));
  if (attention.head_dim % 2 != 0 || attention.head_dim > kMaxHeadDim) {
    return config.Error("head_dim", absl::StrCat("is ", attention.head_dim,
                                                 "; must be even and at most ", kMaxHeadDim));
  }
  attention.value_dim = attention.head_dim;
  attention.scale = 1.0 / std::sqrt(static_cast<double>(attention.head_dim));
  return attention;
}

absl::StatusOr<Activation> ParseActivation(const JsonFields& config, const std::string& key,
                                           const std::string& fallback) {
  ASSIGN_OR_RETURN(const std::string name, config.String(key, fallback));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  return config.Unsupported(
      key, absl::StrCat("is \"", name.substr(0, 32),
                        "\"; supported are \"silu\", \"gelu\", \"gelu_new\" and \"relu\""));
}

absl::StatusOr<FfnSpec> ParseNetwork(const JsonFields& config, const std::string& width_key,
                                     const std::string& default_activation) {
  FfnSpec ffn;
  ASSIGN_OR_RETURN(ffn.intermediate, config.Integer(width_key, 1, kMaxWidth));
  ASSIGN_OR_RETURN(ffn.activation, ParseActivation(config, "hidden_act", default_activation));
  return ffn;
}

absl::StatusOr<FfnSpec> ParseDense(const JsonFields& config) {
  return ParseNetwork(config, "intermediate_size");
}

absl::Status ParseAttentionBias(const JsonFields& config, bool fallback, AttentionSpec& attention) {
  ASSIGN_OR_RETURN(attention.qkv_bias, config.Bool("attention_bias", fallback));
  attention.output_bias = attention.qkv_bias;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ParseWindow(const JsonFields& config) {
  return config.Integer("sliding_window", 1, kMaxPositions, 0);
}

absl::Status SetRope(const JsonFields& config, const Defaults& defaults, int64_t head_dim,
                     ModelSpec& spec) {
  ASSIGN_OR_RETURN(spec.rope, ParseRope(config, {.theta = defaults.rope_theta,
                                                 .head_dim = head_dim,
                                                 .max_positions = spec.max_positions}));
  return absl::OkStatus();
}

absl::Status SetEqualLayers(const JsonFields& config, const Defaults& defaults, int64_t layers,
                            const LayerSpec& layer, ModelSpec& spec) {
  spec.layers.assign(static_cast<size_t>(layers), layer);
  return SetRope(config, defaults, layer.attention.head_dim, spec);
}

absl::StatusOr<RouterSpec> ParseRouter(const JsonFields& config, const std::string& convention,
                                       const std::string& experts_key,
                                       const std::string& top_k_key) {
  RouterSpec router;
  router.convention = convention;
  ASSIGN_OR_RETURN(router.experts, config.Integer(experts_key, 1, kernels::kMaxRouterExperts));
  ASSIGN_OR_RETURN(router.top_k, config.Integer(top_k_key, 1, kernels::kMaxRouterChoices));
  if (router.top_k > router.experts) {
    return config.Error(top_k_key, absl::StrCat("(", router.top_k, ") is greater than ",
                                                experts_key, " (", router.experts, ")"));
  }
  return router;
}

absl::Status ParseGroups(const JsonFields& config, int64_t scored, RouterSpec& router) {
  ASSIGN_OR_RETURN(router.groups, config.Integer("n_group", 1, router.experts, 1));
  ASSIGN_OR_RETURN(router.kept_groups, config.Integer("topk_group", 1, router.experts, 1));
  if (router.experts % router.groups != 0) {
    return config.Error("n_group",
                        absl::StrCat("(", router.groups, ") does not divide n_routed_experts (",
                                     router.experts, ")"));
  }
  if (router.kept_groups > router.groups) {
    return config.Error(
        "topk_group",
        absl::StrCat("(", router.kept_groups, ") is greater than n_group (", router.groups, ")"));
  }
  const int64_t members = router.experts / router.groups;
  if (router.groups > 1 && members < scored) {
    return config.Error("n_group", absl::StrCat("(", router.groups, ") leaves ", members,
                                                " experts a group; its score takes ", scored));
  }
  if (router.top_k > router.kept_groups * members) {
    return config.Error(
        "num_experts_per_tok",
        absl::StrCat("(", router.top_k, ") is greater than the ", router.kept_groups * members,
                     " experts of topk_group (", router.kept_groups, ") groups"));
  }
  return absl::OkStatus();
}

absl::Status RefuseTrue(const JsonFields& config, const std::string& key, const std::string& why) {
  ASSIGN_OR_RETURN(const bool set, config.Bool(key, false));
  return set ? config.Unsupported(key, absl::StrCat("is true: ", why)) : absl::OkStatus();
}

absl::StatusOr<RelativeBiasSpec> ParseRelativeBias(const JsonFields& config) {
  RelativeBiasSpec bias;
  ASSIGN_OR_RETURN(bias.buckets,
                   config.Integer("relative_attention_num_buckets", 4, kMaxWidth, 32));
  ASSIGN_OR_RETURN(bias.max_distance,
                   config.Integer("relative_attention_max_distance", 1, kMaxPositions, 128));
  if (bias.buckets % 2 != 0) {
    return config.Error("relative_attention_num_buckets",
                        absl::StrCat("is ", bias.buckets, "; must be even"));
  }
  // Half of the buckets are single distances; the others share what lies beyond.
  if (bias.max_distance <= bias.buckets / 2) {
    return config.Error("relative_attention_max_distance",
                        absl::StrCat("(", bias.max_distance, ") leaves nothing beyond the first ",
                                     bias.buckets / 2, " distances"));
  }
  return bias;
}

absl::StatusOr<bool> ParseMtp(const JsonFields& config) {
  ASSIGN_OR_RETURN(const int64_t blocks,
                   config.Integer("num_nextn_predict_layers", 0, kMaxLayers, 0));
  if (blocks > 1) {
    return config.Unsupported("num_nextn_predict_layers",
                              absl::StrCat("is ", blocks, "; one block is supported"));
  }
  return blocks == 1;
}

absl::StatusOr<std::vector<bool>> ParseLayerTypes(const JsonFields& config,
                                                  std::vector<bool> fallback) {
  if (!config.Has("layer_types")) return fallback;
  ASSIGN_OR_RETURN(const std::vector<std::string> types, config.Strings("layer_types"));
  if (types.size() != fallback.size()) {
    return config.Error("layer_types", absl::StrCat("has ", types.size(), " entries for ",
                                                    fallback.size(), " layers"));
  }
  std::vector<bool> sliding;
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention") {
      return config.Unsupported("layer_types",
                                absl::StrCat("has \"", type.substr(0, 32),
                                             "\"; supported are \"full_attention\" and "
                                             "\"sliding_attention\""));
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

}  // namespace switchyard::model
