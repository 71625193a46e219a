#pragma once

// A model as data: everything the roles need to know of a checkpoint except its weights, read from
// config.json (config_json.h). A new family is a new way to fill this struct and a table of tensor
// names (families/family.h), never a new engine.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/expert_ffn/expert_weights.h"

namespace switchyard::model {

enum class RopeKind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope, kNtk };

// Fields named after a kind count for that kind only. rope_frequencies.h computes with them.
struct RopeSpec {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                 // linear, dynamic, yarn, llama3, longrope
  double low_frequency_factor = 1.0;   // llama3
  double high_frequency_factor = 4.0;  // llama3
  // llama3, yarn, longrope; dynamic: the length up to which nothing changes.
  int64_t original_max_positions = 0;
  int64_t rotary_dim = 0;  // elements of a head that rotate: the first of them, or MLA's rope part
  bool interleaved = false;  // pairs are (2i, 2i + 1) instead of (i, i + rotary_dim / 2)

  double alpha = 1.0;                      // ntk: theta * alpha^(d / (d - 2))
  double beta_fast = 32.0;                 // yarn
  double beta_slow = 1.0;                  // yarn
  bool truncate = true;                    // yarn: the ends of the ramp are whole dimensions
  double mscale = 0.0;                     // yarn; 0: absent
  double mscale_all_dim = 0.0;             // yarn; 0: absent
  std::optional<double> attention_factor;  // yarn, longrope: wins over the computed one
  std::vector<double> short_factor;        // longrope: rotary_dim / 2
  std::vector<double> long_factor;
  std::optional<double> short_mscale;  // longrope of Phi: attention factors of the two regimes
  std::optional<double> long_mscale;

  bool operator==(const RopeSpec&) const = default;
};

enum class AttentionKind { kGqa, kMla };

// RMSNorm of q and k before rope: of each head, or of the whole projection.
enum class QkNorm { kNone, kPerHead, kProjection };

// Multi-head latent attention (DeepSeek). A position's cache is the normed latent and the rotated
// rope key, nothing else.
struct MlaSpec {
  int64_t q_lora_rank = 0;  // 0: one plain query projection
  int64_t kv_lora_rank = 0;
  int64_t nope_dim = 0;  // of a query or key head; its remaining rope_dim elements rotate
  int64_t rope_dim = 0;
  float latent_norm_epsilon = 1e-6f;

  int64_t cache_width() const { return kv_lora_rank + rope_dim; }

  bool operator==(const MlaSpec&) const = default;
};

// T5's bucketed distance, a learned number per bucket and head added to the scores.
struct RelativeBiasSpec {
  int64_t buckets = 0;
  int64_t max_distance = 0;
  bool own_table = true;  // else the table of the stack's first layer

  bool operator==(const RelativeBiasSpec&) const = default;
};

struct AttentionSpec {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads; with MLA heads, although the cache has a single one
  int64_t head_dim = 0;  // of queries and keys; with MLA nope_dim + rope_dim
  // 0: full attention; else a query sees this many keys, itself included.
  int64_t sliding_window = 0;
  int64_t value_dim = 0;  // of a value head
  double scale = 0.0;     // of the scores
  AttentionKind kind = AttentionKind::kGqa;
  MlaSpec mla;            // kMla only
  bool causal = true;     // false in an encoder and for cross attention
  bool qkv_bias = false;  // with MLA of the projections from hidden to a low rank
  bool output_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  double clip_qkv = 0.0;  // 0: none; else q, k and v are cut to [-clip, clip] after the norm
  bool sinks = false;     // a logit a head that joins the softmax and is dropped
  std::optional<RelativeBiasSpec> relative;

  bool operator==(const AttentionSpec&) const = default;
};

// A named convention of kernels/router and what the checkpoint says differently
// (router_convention.h makes a kernels::RouterConvention of it).
struct RouterSpec {
  std::string convention = "mixtral";
  int64_t experts = 0;
  int64_t top_k = 0;
  bool renormalize = true;  // divide the chosen weights by their sum
  int64_t groups = 1;       // of consecutive experts, of which the best kept_groups stay
  int64_t kept_groups = 1;
  double scale = 1.0;            // of all weights, last
  bool bias = false;             // of the linear layer
  bool correction_bias = false;  // added to the scores that choose, not to the weights
  double mixer_jitter = 0.0;     // sparse-mixer's threshold
  // What an expert accepts of one sequence in a full pass. Neither: everything.
  int64_t capacity = 0;          // Switch: tokens
  double capacity_factor = 0.0;  // GLaM: times top_k * tokens / experts, rounded up
  // GLaM: the factor while generating; 0 accepts everything.
  double decode_capacity_factor = 0.0;

  bool operator==(const RouterSpec&) const = default;
};

using kernels::Activation;

// Added to the routed experts' sum for every token.
struct SharedExpertSpec {
  int64_t intermediate = 0;
  bool sigmoid_gate = false;  // its output times sigmoid(gate x)

  bool operator==(const SharedExpertSpec&) const = default;
};

// Dense when `router` is absent; the intermediate width is then the dense layer's.
struct FfnSpec {
  int64_t intermediate = 0;
  std::optional<RouterSpec> router;
  Activation activation = Activation::kSilu;
  bool gated = true;  // down(f(gate x) * (up x)), else down(f(gate x))
  bool bias = false;
  double limit = 0.0;  // of kClampedSwiGlu
  std::optional<SharedExpertSpec> shared;

  bool operator==(const FfnSpec&) const = default;
};

struct LayerSpec {
  AttentionSpec attention;
  FfnSpec ffn;
  std::optional<AttentionSpec> cross_attention;  // to the encoder's output, between the two

  bool operator==(const LayerSpec&) const = default;
};

enum class NormKind { kRms, kLayer /* with bias */ };
enum class PositionKind { kRope, kLearned, kSinusoidal, kRelative };
enum class Quantization { kNone, kFp8Block, kMxfp4 };  // of stored weights

struct ModelSpec {
  std::string family;  // config.json's model_type: "mixtral", "llama"
  int64_t hidden = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // context limit in tokens
  float norm_epsilon = 1e-5f;
  NormKind norm = NormKind::kRms;
  bool post_norm = false;  // x = norm(x + f(x)) instead of x + f(norm(x))
  bool tied_embeddings = false;
  // Encoder and decoder each have a table; else one serves both. Only the tensors tell.
  bool stack_embeddings = false;
  bool head_bias = false;
  double logit_scale = 1.0;
  bool bfloat16_weights = false;  // the checkpoint's own type, for --dtype auto
  Quantization quantization = Quantization::kNone;
  PositionKind positions = PositionKind::kRope;
  RopeSpec rope;  // kRope only
  std::vector<LayerSpec> layers;
  std::optional<LayerSpec> mtp;           // multi-token prediction; its index is layers.size()
  std::vector<LayerSpec> encoder_layers;  // Switch; their indices follow the decoder's

  int64_t bos_token = -1;            // -1: none
  std::vector<int64_t> eos_tokens;   // generation_config.json's win over config.json's
  int64_t decoder_start_token = -1;  // encoder-decoder only

  // Indices, as of Block, of the layers with a router, ascending: the decoder's and the encoder's.
  std::vector<int64_t> MoeLayers() const;
  std::vector<int64_t> MoeBlocks() const;  // with the MTP block: all that expert hosts compute

  // Layers by one index: `layers`, then the MTP block or the encoder's (no family has both).
  int64_t Blocks() const;
  const LayerSpec& Block(int64_t index) const;

  bool operator==(const ModelSpec&) const = default;
};

}  // namespace switchyard::model
