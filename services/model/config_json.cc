#include "services/model/config_json.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/json_fields.h"

namespace switchyard::model {
namespace {

// Far above any model and far below what could overflow a product of two of them.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxHeadDim = 1 << 12;
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 31;
// The router kernel's limits.
constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxTopK = 64;

// What a family's configuration class in transformers assumes for absent keys.
struct FamilyDefaults {
  double rope_theta;
  double norm_epsilon;
  int64_t max_positions;
  int64_t kv_heads;  // 0: as many as query heads
};

constexpr FamilyDefaults kMixtralDefaults = {1e6, 1e-5, 131072, 8};
constexpr FamilyDefaults kLlamaDefaults = {1e4, 1e-6, 2048, 0};

absl::Status RefuseUnsupported(const JsonFields& config) {
  if (config.Has("auto_map")) {
    return config.Error("auto_map",
                        "asks for code from the checkpoint to be run, which Switchyard never "
                        "does; remove the key if the model is the family's own architecture");
  }
  if (config.Has("quantization_config")) {
    return config.Unsupported("quantization_config",
                              "is set: quantised checkpoints cannot be loaded yet; use one stored "
                              "as float32 or bfloat16");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    ASSIGN_OR_RETURN(const bool bias, config.Bool(key, false));
    if (bias) return config.Unsupported(key, "is true: biases are not supported yet");
  }
  if (config.Has("hidden_act")) {
    ASSIGN_OR_RETURN(const std::string activation, config.String("hidden_act"));
    if (activation != "silu" && activation != "swish") {
      return config.Unsupported(
          "hidden_act", absl::StrCat("is \"", activation, "\"; only \"silu\" is supported"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<AttentionSpec> ParseAttention(const JsonFields& config, int64_t hidden,
                                             const FamilyDefaults& defaults) {
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
  if (!config.Has("head_dim") && hidden % attention.heads != 0) {
    return config.Error("num_attention_heads",
                        absl::StrCat("(", attention.heads, ") does not divide hidden_size (",
                                     hidden, ") and there is no head_dim"));
  }
  ASSIGN_OR_RETURN(attention.head_dim,
                   config.Integer("head_dim", 1, kMaxHeadDim, hidden / attention.heads));
  if (attention.head_dim % 2 != 0 || attention.head_dim > kMaxHeadDim) {
    return config.Error("head_dim", absl::StrCat("is ", attention.head_dim,
                                                 "; must be even and at most ", kMaxHeadDim));
  }
  return attention;
}

// The kind's own parameters. `scaling` is rope_scaling or rope_parameters.
absl::Status ParseRopeScaling(const JsonFields& config, const JsonFields& scaling, RopeSpec& rope) {
  // Older files say "type".
  const char* type_key = scaling.Has("rope_type") ? "rope_type" : "type";
  std::string kind = "default";
  if (scaling.Has(type_key)) {
    ASSIGN_OR_RETURN(kind, scaling.String(type_key));
  }
  ASSIGN_OR_RETURN(const double rotary, scaling.Number("partial_rotary_factor", 0, 1, 1));
  if (rotary != 1) {
    return scaling.Unsupported("partial_rotary_factor", "other than 1 is not supported yet");
  }
  constexpr double kMaxFactor = 1e6;
  if (kind == "default") return absl::OkStatus();
  if (kind == "linear") {
    rope.kind = RopeKind::kLinear;
    ASSIGN_OR_RETURN(rope.factor, scaling.Number("factor", 1, kMaxFactor));
    return absl::OkStatus();
  }
  if (kind != "llama3") {
    return scaling.Unsupported(
        type_key, absl::StrCat("is \"", kind.substr(0, 32),
                               "\"; supported are \"default\", \"linear\" and \"llama3\""));
  }
  rope.kind = RopeKind::kLlama3;
  ASSIGN_OR_RETURN(rope.factor, scaling.Number("factor", 1, kMaxFactor));
  ASSIGN_OR_RETURN(rope.low_frequency_factor, scaling.Number("low_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.high_frequency_factor,
                   scaling.Number("high_freq_factor", 1e-6, kMaxFactor));
  if (rope.high_frequency_factor <= rope.low_frequency_factor) {
    return scaling.Error("high_freq_factor", "must be greater than low_freq_factor");
  }
  // transformers lets a top-level value win.
  const char* original_key = "original_max_position_embeddings";
  const JsonFields& holder = config.Has(original_key) ? config : scaling;
  ASSIGN_OR_RETURN(rope.original_max_positions, holder.Integer(original_key, 1, kMaxPositions));
  return absl::OkStatus();
}

absl::StatusOr<RopeSpec> ParseRope(const JsonFields& config, int64_t head_dim,
                                   const FamilyDefaults& defaults) {
  constexpr double kMaxTheta = 1e15;
  RopeSpec rope;
  rope.rotary_dim = head_dim;
  ASSIGN_OR_RETURN(rope.theta, config.Number("rope_theta", 1, kMaxTheta, defaults.rope_theta));
  ASSIGN_OR_RETURN(const double rotary, config.Number("partial_rotary_factor", 0, 1, 1));
  if (rotary != 1) {
    return config.Unsupported("partial_rotary_factor", "other than 1 is not supported yet");
  }
  // Where both are there, transformers takes the older key and drops the newer.
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.Has(key)) continue;
    ASSIGN_OR_RETURN(const JsonFields scaling, config.Object(key));
    ASSIGN_OR_RETURN(rope.theta, scaling.Number("rope_theta", 1, kMaxTheta, rope.theta));
    RETURN_IF_ERROR(ParseRopeScaling(config, scaling, rope));
    break;
  }
  return rope;
}

absl::StatusOr<FfnSpec> ParseMixtralFfn(const JsonFields& config) {
  FfnSpec ffn;
  ASSIGN_OR_RETURN(ffn.intermediate, config.Integer("intermediate_size", 1, kMaxWidth));
  RouterSpec router;
  ASSIGN_OR_RETURN(router.experts, config.Integer("num_local_experts", 1, kMaxExperts));
  ASSIGN_OR_RETURN(router.top_k, config.Integer("num_experts_per_tok", 1, kMaxTopK));
  if (router.top_k > router.experts) {
    return config.Error("num_experts_per_tok",
                        absl::StrCat("(", router.top_k, ") is greater than num_local_experts (",
                                     router.experts, ")"));
  }
  ffn.router = router;
  return ffn;
}

absl::Status ParseTokens(const JsonFields& config, ModelSpec& spec) {
  const int64_t last = spec.vocabulary - 1;
  if (config.Has("bos_token_id")) {
    ASSIGN_OR_RETURN(spec.bos_token, config.Integer("bos_token_id", 0, last));
  }
  if (config.Has("eos_token_id")) {
    ASSIGN_OR_RETURN(spec.eos_tokens, config.Integers("eos_token_id", 0, last));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelSpec> ParseConfig(const std::string& text, const std::string& file) {
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Parse(text, file));
  ModelSpec spec;
  ASSIGN_OR_RETURN(spec.family, config.String("model_type"));
  const bool mixtral = spec.family == "mixtral";
  if (!mixtral && spec.family != "llama") {
    return config.Unsupported("model_type",
                              absl::StrCat("is \"", spec.family.substr(0, 32),
                                           "\"; supported are \"mixtral\" and \"llama\""));
  }
  const FamilyDefaults& defaults = mixtral ? kMixtralDefaults : kLlamaDefaults;
  RETURN_IF_ERROR(RefuseUnsupported(config));

  ASSIGN_OR_RETURN(spec.hidden, config.Integer("hidden_size", 1, kMaxWidth));
  ASSIGN_OR_RETURN(spec.vocabulary, config.Integer("vocab_size", 1, kMaxVocabulary));
  ASSIGN_OR_RETURN(const int64_t layers, config.Integer("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(spec.max_positions, config.Integer("max_position_embeddings", 1, kMaxPositions,
                                                      defaults.max_positions));
  ASSIGN_OR_RETURN(const double epsilon,
                   config.Number("rms_norm_eps", 0, 1, defaults.norm_epsilon));
  spec.norm_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(spec.tied_embeddings, config.Bool("tie_word_embeddings", false));

  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseAttention(config, spec.hidden, defaults));
  if (mixtral) {
    ASSIGN_OR_RETURN(layer.attention.sliding_window,
                     config.Integer("sliding_window", 1, kMaxPositions, 0));
    ASSIGN_OR_RETURN(layer.ffn, ParseMixtralFfn(config));
  } else {
    ASSIGN_OR_RETURN(layer.ffn.intermediate, config.Integer("intermediate_size", 1, kMaxWidth));
  }
  spec.layers.assign(static_cast<size_t>(layers), layer);
  ASSIGN_OR_RETURN(spec.rope, ParseRope(config, layer.attention.head_dim, defaults));
  // Absent means 1 and 2 in both families; null means none.
  if (!config.IsNull("bos_token_id") && spec.vocabulary > 1) spec.bos_token = 1;
  if (!config.IsNull("eos_token_id") && spec.vocabulary > 2) spec.eos_tokens = {2};
  RETURN_IF_ERROR(ParseTokens(config, spec));
  return spec;
}

absl::Status ApplyGenerationConfig(const std::string& text, const std::string& file,
                                   ModelSpec& spec) {
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Parse(text, file));
  RETURN_IF_ERROR(ParseTokens(config, spec));
  if (config.Has("temperature")) {
    ASSIGN_OR_RETURN(spec.default_temperature, config.Number("temperature", 0, 1e6));
  }
  if (config.Has("top_p")) {
    ASSIGN_OR_RETURN(spec.default_top_p, config.Number("top_p", 0, 1));
  }
  if (config.Has("top_k")) {
    ASSIGN_OR_RETURN(spec.default_top_k, config.Integer("top_k", 0, INT32_MAX));
  }
  ASSIGN_OR_RETURN(const bool sample, config.Bool("do_sample", true));
  spec.default_greedy = !sample;
  return absl::OkStatus();
}

}  // namespace switchyard::model
