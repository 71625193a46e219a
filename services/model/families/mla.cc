#include "services/model/families/mla.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

constexpr int64_t kDefaultQueryRank = 1536;

absl::StatusOr<AttentionSpec> ParseMla(const JsonFields& config) {
  AttentionSpec attention;
  attention.kind = AttentionKind::kMla;
  // Of the projections from hidden to a low rank, and of the output.
  ASSIGN_OR_RETURN(attention.qkv_bias, config.Bool("attention_bias", false));
  attention.output_bias = attention.qkv_bias;
  ASSIGN_OR_RETURN(attention.heads, config.Integer("num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(attention.kv_heads,
                   config.Integer("num_key_value_heads", 1, kMaxHeads, attention.heads));
  if (attention.kv_heads != attention.heads) {
    return config.Error("num_key_value_heads",
                        absl::StrCat("(", attention.kv_heads, ") is not num_attention_heads (",
                                     attention.heads, "): latent attention has one key a head"));
  }
  MlaSpec& mla = attention.mla;
  // null means a plain q_proj.
  const int64_t query_rank = config.IsNull("q_lora_rank") ? 0 : kDefaultQueryRank;
  ASSIGN_OR_RETURN(mla.q_lora_rank, config.Integer("q_lora_rank", 1, kMaxWidth, query_rank));
  ASSIGN_OR_RETURN(mla.kv_lora_rank, config.Integer("kv_lora_rank", 1, kMaxWidth));
  ASSIGN_OR_RETURN(mla.nope_dim, config.Integer("qk_nope_head_dim", 1, kMaxHeadDim));
  ASSIGN_OR_RETURN(mla.rope_dim, config.Integer("qk_rope_head_dim", 2, kMaxHeadDim));
  if (mla.rope_dim % 2 != 0) {
    return config.Error("qk_rope_head_dim", absl::StrCat("is ", mla.rope_dim, "; must be even"));
  }
  ASSIGN_OR_RETURN(attention.value_dim, config.Integer("v_head_dim", 1, kMaxHeadDim));
  attention.head_dim = mla.nope_dim + mla.rope_dim;
  attention.scale = 1.0 / std::sqrt(static_cast<double>(attention.head_dim));
  return attention;
}

// The part of YaRN's temperature that DeepSeek puts on the scores instead of on cos and sin.
double ScoreFactor(const RopeSpec& rope) {
  if (rope.kind == RopeKind::kDefault || rope.mscale_all_dim == 0 || rope.factor <= 1) return 1;
  const double mscale = 0.1 * rope.mscale_all_dim * std::log(rope.factor) + 1.0;
  return mscale * mscale;
}

}  // namespace

absl::StatusOr<FfnSpec> ParseDeepseekMoe(const JsonFields& config, const RouterSpec& router,
                                         int64_t default_shared) {
  ASSIGN_OR_RETURN(FfnSpec ffn, ParseNetwork(config, "moe_intermediate_size"));
  ffn.router = router;
  const int64_t absent = config.IsNull("n_shared_experts") ? 0 : default_shared;
  ASSIGN_OR_RETURN(const int64_t shared,
                   config.Integer("n_shared_experts", 0, kMaxWidth / ffn.intermediate, absent));
  if (shared > 0) ffn.shared = SharedExpertSpec{.intermediate = shared * ffn.intermediate};
  return ffn;
}

absl::Status SetDenseFirst(const JsonFields& config, int64_t layers, int64_t default_dense,
                           const AttentionSpec& attention, const FfnSpec& moe, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t dense,
                   config.Integer("first_k_dense_replace", 0, kMaxLayers, default_dense));
  FfnSpec dense_ffn;
  if (dense > 0) {
    ASSIGN_OR_RETURN(dense_ffn, ParseDense(config));
  }
  for (int64_t layer = 0; layer < layers; ++layer) {
    spec.layers.push_back({.attention = attention, .ffn = layer < dense ? dense_ffn : moe});
  }
  ASSIGN_OR_RETURN(const bool mtp, ParseMtp(config));
  if (mtp) spec.mtp = LayerSpec{.attention = attention, .ffn = moe};
  return absl::OkStatus();
}

absl::Status ParseDeepseek(const JsonFields& config, const DeepseekOptions& options,
                           const RouterSpec& router, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, ParseDimensions(config, options.defaults, spec));
  ASSIGN_OR_RETURN(AttentionSpec attention, ParseMla(config));
  RETURN_IF_ERROR(SetRope(config, options.defaults, attention.mla.rope_dim, spec));
  spec.rope.interleaved = options.interleaved;
  attention.scale *= ScoreFactor(spec.rope);
  ASSIGN_OR_RETURN(const FfnSpec moe, ParseDeepseekMoe(config, router, options.shared_experts));
  return SetDenseFirst(config, layers, options.dense_layers, attention, moe, spec);
}

}  // namespace switchyard::model
