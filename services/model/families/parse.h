#pragma once

// Readers of what several families spell alike in config.json. Each checks ranges and refuses
// contradictions with an error that names file and key.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/model/json_fields.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// Far above any model and far below what could overflow a product of two of them.
inline constexpr int64_t kMaxWidth = 1 << 20;
inline constexpr int64_t kMaxHeads = 1 << 12;
inline constexpr int64_t kMaxHeadDim = 1 << 12;
inline constexpr int64_t kMaxLayers = 1 << 10;
inline constexpr int64_t kMaxVocabulary = 1 << 24;
inline constexpr int64_t kMaxPositions = int64_t{1} << 31;

// What a family's configuration class in transformers assumes for absent keys.
struct Defaults {
  double rope_theta = 1e4;
  double norm_epsilon = 1e-6;
  int64_t max_positions = 2048;
  int64_t kv_heads = 0;    // 0: as many as query heads
  int64_t head_dim = 0;    // 0: hidden_size / num_attention_heads
  int64_t bos_token = -1;  // -1: none
  int64_t eos_token = -1;
};

// Sizes of the whole model under the usual keys. Returns the number of layers.
absl::StatusOr<int64_t> ParseDimensions(const JsonFields& config, const Defaults& defaults,
                                        ModelSpec& spec);

// Begin and end tokens of config.json; a key that is null means none.
absl::Status ParseTokens(const JsonFields& config, int64_t default_bos, int64_t default_eos,
                         ModelSpec& spec);

// Grouped-query attention: heads, widths and the scale head_dim^-0.5.
absl::StatusOr<AttentionSpec> ParseAttention(const JsonFields& config, int64_t hidden,
                                             const Defaults& defaults);

absl::StatusOr<Activation> ParseActivation(const JsonFields& config, const std::string& key,
                                           const std::string& fallback);

// A network of this width under hidden_act.
absl::StatusOr<FfnSpec> ParseNetwork(const JsonFields& config, const std::string& width_key,
                                     const std::string& default_activation = "silu");

// A dense layer: the network of intermediate_size.
absl::StatusOr<FfnSpec> ParseDense(const JsonFields& config);

// attention_bias: of q, k, v and the output.
absl::Status ParseAttentionBias(const JsonFields& config, bool fallback, AttentionSpec& attention);

// sliding_window of every layer; 0 where the key is absent.
absl::StatusOr<int64_t> ParseWindow(const JsonFields& config);

// Rope over whole heads.
absl::Status SetRope(const JsonFields& config, const Defaults& defaults, int64_t head_dim,
                     ModelSpec& spec);

// All layers alike, with rope over whole heads.
absl::Status SetEqualLayers(const JsonFields& config, const Defaults& defaults, int64_t layers,
                            const LayerSpec& layer, ModelSpec& spec);

// Experts and top_k under these keys, of the named convention of kernels/router.
absl::StatusOr<RouterSpec> ParseRouter(const JsonFields& config, const std::string& convention,
                                       const std::string& experts_key,
                                       const std::string& top_k_key = "num_experts_per_tok");

// n_group and topk_group. `scored`: experts of a group that make its score.
absl::Status ParseGroups(const JsonFields& config, int64_t scored, RouterSpec& router);

// A refusal when the key is true.
absl::Status RefuseTrue(const JsonFields& config, const std::string& key, const std::string& why);

// relative_attention_num_buckets and relative_attention_max_distance.
absl::StatusOr<RelativeBiasSpec> ParseRelativeBias(const JsonFields& config);

// num_nextn_predict_layers: whether there is a block for multi-token prediction.
absl::StatusOr<bool> ParseMtp(const JsonFields& config);

// Which layers slide, from layer_types; `fallback` where the key is absent.
absl::StatusOr<std::vector<bool>> ParseLayerTypes(const JsonFields& config,
                                                  std::vector<bool> fallback);

}  // namespace switchyard::model
