#pragma once

// A model as data: everything the roles need to know of a checkpoint except its weights, read from
// config.json (config_json.h). A new family is a new way to fill this struct and a table of tensor
// names (tensor_names.h), never a new engine.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace switchyard::model {

enum class RopeKind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope };

struct RopeSpec {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_frequency_factor = 1.0;   // llama3
  double high_frequency_factor = 4.0;  // llama3
  int64_t original_max_positions = 0;  // llama3
  int64_t rotary_dim = 0;              // elements of a head that rotate

  bool operator==(const RopeSpec&) const = default;
};

struct AttentionSpec {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
  // 0: full attention; else a query sees this many keys, itself included.
  int64_t sliding_window = 0;

  bool operator==(const AttentionSpec&) const = default;
};

enum class RouterKind { kSoftmaxTopK };

struct RouterSpec {
  RouterKind kind = RouterKind::kSoftmaxTopK;
  int64_t experts = 0;
  int64_t top_k = 0;
  bool renormalize = true;

  bool operator==(const RouterSpec&) const = default;
};

// Dense when `router` is absent; the intermediate width is then the dense layer's.
struct FfnSpec {
  int64_t intermediate = 0;
  std::optional<RouterSpec> router;

  bool operator==(const FfnSpec&) const = default;
};

struct LayerSpec {
  AttentionSpec attention;
  FfnSpec ffn;

  bool operator==(const LayerSpec&) const = default;
};

struct ModelSpec {
  std::string family;  // config.json's model_type: "mixtral", "llama"
  int64_t hidden = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // context limit in tokens
  float norm_epsilon = 1e-5f;
  bool tied_embeddings = false;
  bool bfloat16_weights = false;  // the checkpoint's own type, for --dtype auto
  RopeSpec rope;
  std::vector<LayerSpec> layers;

  int64_t bos_token = -1;           // -1: none
  std::vector<int64_t> eos_tokens;  // generation_config.json's win over config.json's

  // Defaults for sampling from generation_config.json, where it has them.
  std::optional<float> default_temperature;
  std::optional<float> default_top_p;
  std::optional<int64_t> default_top_k;
  // do_sample is false. It does NOT mean greedy over HTTP, where a request's own temperature or 1
  // holds.
  bool default_greedy = false;

  std::vector<int64_t> MoeLayers() const;  // indices of layers with a router, ascending

  bool operator==(const ModelSpec&) const = default;
};

}  // namespace switchyard::model
