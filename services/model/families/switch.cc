// Switch Transformers: a T5 encoder-decoder with top-1 experts. add_router_probs,
// router_ignore_padding_tokens and feed_forward_proj are not read: neither does transformers.

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/router/convention.h"
#include "services/base/status_macros.h"
#include "services/model/families/family.h"
#include "services/model/families/parse.h"

namespace switchyard::model {
namespace {

// T5 has no limit of its own; this bounds what the caches are planned for.
constexpr int64_t kPositions = 4096;

absl::StatusOr<AttentionSpec> ParseHeads(const JsonFields& config) {
  AttentionSpec attention;
  ASSIGN_OR_RETURN(attention.heads, config.Integer("num_heads", 1, kMaxHeads));
  attention.kv_heads = attention.heads;
  ASSIGN_OR_RETURN(attention.head_dim, config.Integer("d_kv", 1, kMaxHeadDim));
  attention.value_dim = attention.head_dim;
  attention.scale = 1;  // T5 has it in its initial weights
  return attention;
}

absl::StatusOr<RouterSpec> ParseChoice(const JsonFields& config) {
  ASSIGN_OR_RETURN(const std::string type, config.String("router_dtype", "float32"));
  if (type != "float32") {
    return config.Unsupported(
        "router_dtype", absl::StrCat("is \"", type.substr(0, 32), "\"; supported is \"float32\""));
  }
  RouterSpec router = {.convention = "switch", .top_k = 1, .renormalize = false};
  ASSIGN_OR_RETURN(router.experts, config.Integer("num_experts", 1, kernels::kMaxRouterExperts));
  ASSIGN_OR_RETURN(router.capacity, config.Integer("expert_capacity", 1, kMaxPositions, 64));
  ASSIGN_OR_RETURN(router.bias, config.Bool("router_bias", false));
  return router;
}

// One stack: layer i is sparse iff i % step == 1 or step == 1, step = layers / sparse layers. With
// no sparse layer transformers takes the number of layers for the step.
absl::StatusOr<std::vector<LayerSpec>> ParseStack(const JsonFields& config, const LayerSpec& dense,
                                                  const FfnSpec& moe, int64_t layers,
                                                  const char* sparse_key) {
  ASSIGN_OR_RETURN(const int64_t sparse, config.Integer(sparse_key, 0, layers));
  const int64_t step = sparse > 0 ? layers / sparse : layers;
  std::vector<LayerSpec> stack(static_cast<size_t>(layers), dense);
  for (int64_t i = 0; i < layers; ++i) {
    LayerSpec& layer = stack[static_cast<size_t>(i)];
    layer.attention.relative->own_table = i == 0;
    if (step == 1 || i % step == 1) layer.ffn = moe;
  }
  return stack;
}

absl::Status ParseStacks(const JsonFields& config, ModelSpec& spec) {
  LayerSpec layer;
  ASSIGN_OR_RETURN(layer.attention, ParseHeads(config));
  AttentionSpec cross = layer.attention;
  cross.causal = false;
  ASSIGN_OR_RETURN(layer.attention.relative, ParseRelativeBias(config));
  layer.ffn = {.gated = false};
  ASSIGN_OR_RETURN(layer.ffn.intermediate, config.Integer("d_ff", 1, kMaxWidth));
  ASSIGN_OR_RETURN(layer.ffn.activation, ParseActivation(config, "dense_act_fn", "relu"));
  FfnSpec moe = layer.ffn;
  ASSIGN_OR_RETURN(moe.router, ParseChoice(config));

  ASSIGN_OR_RETURN(const int64_t encoder, config.Integer("num_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(const int64_t decoder,
                   config.Integer("num_decoder_layers", 1, kMaxLayers, encoder));
  LayerSpec encoder_layer = layer;
  encoder_layer.attention.causal = false;
  ASSIGN_OR_RETURN(spec.encoder_layers,
                   ParseStack(config, encoder_layer, moe, encoder, "num_sparse_encoder_layers"));
  layer.cross_attention = cross;
  ASSIGN_OR_RETURN(spec.layers,
                   ParseStack(config, layer, moe, decoder, "num_sparse_decoder_layers"));
  return absl::OkStatus();
}

absl::Status Parse(const JsonFields& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(spec.hidden, config.Integer("d_model", 1, kMaxWidth));
  ASSIGN_OR_RETURN(spec.vocabulary, config.Integer("vocab_size", 1, kMaxVocabulary));
  ASSIGN_OR_RETURN(spec.max_positions, config.Integer("n_positions", 1, kMaxPositions, kPositions));
  ASSIGN_OR_RETURN(const double epsilon, config.Number("layer_norm_epsilon", 0, 1, 1e-6));
  spec.norm_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(spec.tied_embeddings, config.Bool("tie_word_embeddings", true));
  if (spec.tied_embeddings) spec.logit_scale = 1 / std::sqrt(static_cast<double>(spec.hidden));
  spec.positions = PositionKind::kRelative;
  RETURN_IF_ERROR(ParseTokens(config, -1, 1, spec));
  ASSIGN_OR_RETURN(spec.decoder_start_token,
                   config.Integer("decoder_start_token_id", 0, spec.vocabulary - 1, 0));
  return ParseStacks(config, spec);
}

constexpr FfnNames kTwoMatrices = {.gate = "wi", .down = "wo"};

constexpr AttentionNames kSelfAttention = {
    .norm = "layer.0.layer_norm",
    .query = "layer.0.SelfAttention.q",
    .key = "layer.0.SelfAttention.k",
    .value = "layer.0.SelfAttention.v",
    .output = "layer.0.SelfAttention.o",
    .relative_bias = "layer.0.SelfAttention.relative_attention_bias"};

}  // namespace

constinit const Family kSwitch = {
    .model_type = "switch_transformers",
    .parse = Parse,
    .names = {.embedding = "shared",
              .encoder_embedding = "encoder.embed_tokens",
              .decoder_embedding = "decoder.embed_tokens",
              .final_norm = "decoder.final_layer_norm",
              .layer = {.prefix = "decoder.block.",
                        .attention = kSelfAttention,
                        .cross_attention = {.norm = "layer.1.layer_norm",
                                            .query = "layer.1.EncDecAttention.q",
                                            .key = "layer.1.EncDecAttention.k",
                                            .value = "layer.1.EncDecAttention.v",
                                            .output = "layer.1.EncDecAttention.o"},
                        .ffn_norm = "layer.2.layer_norm",
                        .dense = "layer.2.mlp.",
                        .dense_ffn = kTwoMatrices,
                        .router = "layer.2.mlp.router.classifier",
                        .experts = "layer.2.mlp.experts.expert_",
                        .expert_ffn = kTwoMatrices},
              .encoder_layer = {.prefix = "encoder.block.",
                                .attention = kSelfAttention,
                                .ffn_norm = "layer.1.layer_norm",
                                .dense = "layer.1.mlp.",
                                .dense_ffn = kTwoMatrices,
                                .router = "layer.1.mlp.router.classifier",
                                .experts = "layer.1.mlp.experts.expert_",
                                .expert_ffn = kTwoMatrices},
              .encoder_final_norm = "encoder.final_layer_norm"}};

}  // namespace switchyard::model
