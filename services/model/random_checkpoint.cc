#include "services/model/random_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/base/bf16.h"
#include "kernels/base/buffer.h"
#include "services/base/check.h"
#include "services/base/file.h"
#include "services/base/status_macros.h"
#include "services/model/safetensors_writer.h"
#include "services/model/tensor_names.h"

namespace switchyard::model {
namespace {

constexpr double kDeviation = 0.02;
constexpr int64_t kBlockElements = 1 << 19;
constexpr size_t kQuantiles = 1 << 16;

// Inverse of the normal distribution function by bisection: it is called 32768 times in all.
double NormalQuantile(double probability) {
  double low = -10;
  double high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

// 65536 equally likely values. Drawing from them is one random 16-bit number and one load, ten
// times faster than a transform, and as good once values are rounded to bf16.
template <typename T>
const std::array<T, kQuantiles>& Quantiles() {
  static const auto* const table = [] {
    auto* values = new std::array<T, kQuantiles>;
    for (size_t i = 0; i < kQuantiles / 2; ++i) {
      const double z = NormalQuantile((static_cast<double>(i) + 0.5) / kQuantiles);
      const auto value = static_cast<float>(z * kDeviation);
      if constexpr (std::is_same_v<T, float>) {
        (*values)[i] = value;
        (*values)[kQuantiles - 1 - i] = -value;
      } else {
        const uint16_t rounded = kernels::FloatToBf16(value);
        (*values)[i] = rounded;
        (*values)[kQuantiles - 1 - i] = rounded ^ 0x8000;
      }
    }
    return values;
  }();
  return *table;
}

uint64_t SplitMix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

template <typename T>
void FillNormal(uint64_t stream, T* values, int64_t count) {
  const auto& quantiles = Quantiles<T>();
  for (int64_t i = 0; i < count; i += 4) {
    const uint64_t bits = SplitMix(stream);
    const int64_t end = std::min<int64_t>(4, count - i);
    for (int64_t j = 0; j < end; ++j) values[i + j] = quantiles[(bits >> (16 * j)) & 0xffff];
  }
}

template <typename T>
absl::Status WriteTensor(const TensorDeclaration& tensor, uint64_t seed, SafetensorsWriter& writer,
                         kernels::Buffer& staging, kernels::ThreadPool& pool) {
  int64_t elements = 1;
  for (const int64_t extent : tensor.shape) elements *= extent;
  const bool norm = tensor.shape.size() == 1;
  const T one = std::is_same_v<T, float> ? T{1} : T{0x3f80};  // 1 in bf16
  const int64_t blocks = (elements + kBlockElements - 1) / kBlockElements;
  std::mutex mutex;
  absl::Status status;
  pool.ParallelFor(blocks, [&](int64_t block, int worker) {
    T* values = staging.As<T>() + worker * kBlockElements;
    const int64_t first = block * kBlockElements;
    const int64_t count = std::min(kBlockElements, elements - first);
    if (norm) {
      std::fill_n(values, count, one);
    } else {
      uint64_t stream = seed + static_cast<uint64_t>(block);
      FillNormal(SplitMix(stream), values, count);
    }
    const absl::Status written = writer.Write(tensor.name, static_cast<uint64_t>(first) * sizeof(T),
                                              values, static_cast<uint64_t>(count) * sizeof(T));
    std::lock_guard lock(mutex);
    status.Update(written);
  });
  return status;
}

}  // namespace

ModelSpec MixtralSpec(const MixtralDimensions& dimensions) {
  ModelSpec spec;
  spec.family = "mixtral";
  spec.hidden = dimensions.hidden;
  spec.vocabulary = dimensions.vocabulary;
  spec.max_positions = dimensions.max_positions;
  spec.bfloat16_weights = true;
  spec.rope.rotary_dim = dimensions.head_dim;
  LayerSpec layer;
  layer.attention = {.heads = dimensions.heads,
                     .kv_heads = dimensions.kv_heads,
                     .head_dim = dimensions.head_dim,
                     .value_dim = dimensions.head_dim,
                     .scale = 1.0 / std::sqrt(static_cast<double>(dimensions.head_dim))};
  layer.ffn = {.intermediate = dimensions.intermediate,
               .router = RouterSpec{.experts = dimensions.experts, .top_k = dimensions.top_k}};
  spec.layers.assign(static_cast<size_t>(dimensions.layers), layer);
  return spec;
}

std::string ConfigJson(const ModelSpec& spec) {
  CHECK(!spec.layers.empty() && spec.rope.kind == RopeKind::kDefault) << "not written";
  const LayerSpec& layer = spec.layers.front();
  nlohmann::json config = {
      {"model_type", spec.family},
      {"torch_dtype", spec.bfloat16_weights ? "bfloat16" : "float32"},
      {"hidden_size", spec.hidden},
      {"vocab_size", spec.vocabulary},
      {"num_hidden_layers", spec.layers.size()},
      {"max_position_embeddings", spec.max_positions},
      {"rms_norm_eps", spec.norm_epsilon},
      {"tie_word_embeddings", spec.tied_embeddings},
      {"num_attention_heads", layer.attention.heads},
      {"num_key_value_heads", layer.attention.kv_heads},
      {"head_dim", layer.attention.head_dim},
      {"intermediate_size", layer.ffn.intermediate},
      {"hidden_act", "silu"},
      {"rope_theta", spec.rope.theta},
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
  };
  if (layer.ffn.router) {
    config["num_local_experts"] = layer.ffn.router->experts;
    config["num_experts_per_tok"] = layer.ffn.router->top_k;
  }
  if (layer.attention.sliding_window > 0) config["sliding_window"] = layer.attention.sliding_window;
  if (spec.bos_token >= 0) config["bos_token_id"] = spec.bos_token;
  if (!spec.eos_tokens.empty()) config["eos_token_id"] = spec.eos_tokens;
  return config.dump(2) + "\n";
}

absl::Status WriteRandomCheckpoint(const ModelSpec& spec, uint64_t seed, const std::string& folder,
                                   kernels::ThreadPool& pool) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::InternalError(absl::StrCat("creating ", folder, ": ", error.message()));

  const StoredType type = spec.bfloat16_weights ? StoredType::kBF16 : StoredType::kF32;
  std::vector<TensorDeclaration> tensors;
  const TensorNames names(spec, ExpertLayout::kSeparate);
  RETURN_IF_ERROR(names.ForEach([&](const std::string& name, const std::vector<int64_t>& shape) {
    tensors.push_back({name, type, shape});
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(SafetensorsWriter writer,
                   SafetensorsWriter::Create(folder + "/model.safetensors", tensors));
  kernels::Buffer staging(static_cast<size_t>(pool.threads() * kBlockElements * SizeOf(type)));
  uint64_t stream = seed;
  for (const TensorDeclaration& tensor : tensors) {
    const uint64_t tensor_seed = SplitMix(stream);
    RETURN_IF_ERROR(type == StoredType::kBF16
                        ? WriteTensor<uint16_t>(tensor, tensor_seed, writer, staging, pool)
                        : WriteTensor<float>(tensor, tensor_seed, writer, staging, pool));
  }
  RETURN_IF_ERROR(writer.Finish());
  return WriteWholeFile(folder + "/config.json", ConfigJson(spec));
}

}  // namespace switchyard::model
