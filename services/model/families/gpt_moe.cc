// GPT-style MoE (the "175B" layout): post-norm, biases, absolute positions, GELU experts of two
// matrices.

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

absl::StatusOr<AttentionSpec> ParseHeads(const JsonFields& config, int64_t hidden) {
  AttentionSpec attention;
  ASSIGN_OR_RETURN(attention.heads, config.Integer("n_head", 1, kMaxHeads));
  if (hidden % attention.heads != 0) {
    return config.Error(
        "n_head", absl::StrCat("(", attention.heads, ") does not divide n_embd (", hidden, ")"));
  }
  attention.kv_heads = attention.heads;
  attention.head_dim = attention.value_dim = hidden / attention.heads;
  attention.scale = 1.0 / std::sqrt(static_cast<double>(attention.head_dim));
  attention.qkv_bias = attention.output_bias = true;
  return attention;
}

absl::StatusOr<PositionKind> ParsePositions(const JsonFields& config) {
  ASSIGN_OR_RETURN(const std::string kind, config.String("position_embedding_type", "learned"));
  if (kind == "learned") return PositionKind::kLearned;
  if (kind == "sinusoidal") return PositionKind::kSinusoidal;
  return config.Unsupported("position_embedding_type",
                            absl::StrCat("is \"", kind.substr(0, 32),
                                         "\"; supported are \"learned\" and \"sinusoidal\""));
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(spec.hidden, config.Integer("n_embd", 1, kMaxWidth));
  ASSIGN_OR_RETURN(spec.vocabulary, config.Integer("vocab_size", 1, kMaxVocabulary));
  ASSIGN_OR_RETURN(const int64_t layers, config.Integer("n_layer", 1, kMaxLayers));
  ASSIGN_OR_RETURN(spec.max_positions, config.Integer("n_positions", 1, kMaxPositions));
  ASSIGN_OR_RETURN(const double epsilon, config.Number("layer_norm_epsilon", 0, 1, 1e-5));
  spec.norm_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(spec.tied_embeddings, config.Bool("tie_word_embeddings", false));
  RETURN_IF_ERROR(ParseTokens(config, -1, -1, spec));
  spec.norm = NormKind::kLayer;
  spec.post_norm = true;
  ASSIGN_OR_RETURN(spec.positions, ParsePositions(config));
  if (spec.positions == PositionKind::kSinusoidal && spec.hidden % 2 != 0) {
    return config.Error("n_embd", "must be even with sinusoidal positions");
  }
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseHeads(config, spec.hidden));
  layer.ffn = {.gated = false, .bias = true};
  ASSIGN_OR_RETURN(layer.ffn.intermediate,
                   config.Integer("n_inner", 1, kMaxWidth, 4 * spec.hidden));
  ASSIGN_OR_RETURN(layer.ffn.activation, ParseActivation(config, "activation_function", "gelu"));
  ASSIGN_OR_RETURN(layer.ffn.router, ParseRouter(config, "mixtral", "num_local_experts"));
  spec.layers.assign(static_cast<size_t>(layers), layer);
  return absl::OkStatus();
}

}  // namespace

constinit const Family kGptMoe = {
    .model_type = "gpt_moe",
    .parse = Parse,
    .names = {.embedding = "transformer.wte",
              .final_norm = "transformer.ln_f",
              .positions = "transformer.wpe",
              .layer = {.prefix = "transformer.h.",
                        .attention = {.norm = "ln_1",
                                      .query = "attn.q_proj",
                                      .key = "attn.k_proj",
                                      .value = "attn.v_proj",
                                      .output = "attn.o_proj"},
                        .ffn_norm = "ln_2",
                        .router = "moe.gate",
                        .experts = "moe.experts.",
                        .expert_ffn = {.gate = "fc_in", .down = "fc_out"}}}};

}  // namespace switchyard::model
