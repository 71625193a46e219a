#pragma once

// A Hugging Face checkpoint folder: config.json, generation_config.json, one or several safetensors
// files. Opening reads and checks headers only; weights are read by pread of exactly the byte
// ranges asked for, straight into the caller's buffers, so a truncated file is an error and never a
// SIGBUS, and memory is not doubled.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/memory.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/matmul/matmul.h"
#include "services/model/model_spec.h"
#include "services/model/model_tensors.h"
#include "services/model/tensor_names.h"

namespace switchyard::model {

// Immutable after Open; all const methods are safe from any thread. Move-only.
class Checkpoint {
 public:
  // Refuses what hardening rows 20, 21 and 23 list, with an error that names file, tensor or key,
  // and models that the engine cannot compute (EngineSupports).
  static absl::StatusOr<Checkpoint> Open(const std::string& folder);

  // The same for whoever computes nothing: any family.
  static absl::StatusOr<Checkpoint> OpenToRead(const std::string& folder);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const ModelSpec& spec() const;
  const std::string& folder() const;

  const TensorNames& names() const;

  // Identity of the model: a hash of config.json, of every tensor's name, type, shape and place,
  // and of sampled weight bytes. Equal on every host that opened the same files.
  uint64_t digest() const;

  // nullptr when there is no such tensor.
  const TensorInfo* Find(std::string_view tensor) const;

  // Reads rows [first_row, first_row + rows) as TensorInfo::type into `destination`: as stored, or
  // dequantised. A row is an element of a 1-D tensor and a run of the last dimension of any other,
  // leading dimensions flattened.
  absl::Status ReadRows(std::string_view tensor, int64_t first_row, int64_t rows,
                        void* destination) const;

  // Reads a whole tensor and widens or rounds it to fp32. `elements` must be its element count.
  absl::Status ReadFloat32(std::string_view tensor, int64_t elements, float* destination) const;

  absl::StatusOr<kernels::Floats> LoadVector(const VectorSource& source) const;

  // Reads a matrix in pieces of a few panels straight into packed form. The pool's threads share
  // the work; memory beyond the result is a bounded piece for each of them, and where the source is
  // transposed the matrix once more as fp32.
  absl::StatusOr<kernels::PackedMatrix> LoadMatrix(const MatrixSource& source,
                                                   kernels::NumericsClass numerics,
                                                   kernels::ThreadPool& pool) const;

  // The same for a whole tensor, which must have the shape [n, k].
  absl::StatusOr<kernels::PackedMatrix> LoadMatrix(std::string_view tensor, int64_t n, int64_t k,
                                                   kernels::NumericsClass numerics,
                                                   kernels::ThreadPool& pool) const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Called with bytes read so far and in all; from one thread at a time.
using LoadProgress = std::function<void(int64_t bytes_done, int64_t bytes_total)>;

// Weights of one router worker's layers (everything but the routed experts). What a model does not
// have is empty.

// Latent attention in the absorbed form: a query head times key_up is a query of the latent, and
// the attended latent times value_up is a head's output.
struct MlaWeights {
  kernels::PackedMatrix query_down, query_up;  // with q_lora_rank, else AttentionWeights::q
  kernels::Floats query_down_bias;             // q_lora_rank; of models with qkv_bias
  kernels::Floats query_norm;                  // q_lora_rank
  kernels::PackedMatrix latent;  // [kv_lora_rank + rope_dim, hidden]: the latent, then the rope key
  kernels::Floats latent_bias;   // of `latent`, with qkv_bias
  kernels::Floats latent_norm;   // kv_lora_rank
  std::vector<kernels::PackedMatrix> key_up;    // a head: [kv_lora_rank, nope_dim]
  std::vector<kernels::PackedMatrix> value_up;  // a head: [value_dim, kv_lora_rank]
};

struct AttentionWeights {
  kernels::Floats norm, norm_bias;        // hidden
  kernels::PackedMatrix q, k, v, output;  // k and v are empty with MLA
  kernels::Floats q_bias, k_bias, v_bias, output_bias;
  kernels::Floats q_norm, k_norm;  // head_dim, or the projection's width
  kernels::Floats sinks;           // heads
  kernels::Floats relative_bias;   // [buckets][heads], the layer's own or its stack's
  MlaWeights mla;
};

struct RouterLayerWeights {
  AttentionWeights attention;
  AttentionWeights cross_attention;
  kernels::Floats ffn_norm, ffn_norm_bias;  // hidden
  kernels::PackedMatrix router;  // class fp32 in every numerics class; empty in a dense layer
  kernels::Floats router_bias, correction_bias;  // experts
  kernels::ExpertWeights dense;                  // only in a dense layer
  kernels::ExpertWeights shared;
  kernels::PackedMatrix shared_gate;  // [1, hidden], class fp32 as the router
};

struct StageWeights {
  int64_t first_layer = 0;
  std::vector<RouterLayerWeights> layers;
  kernels::Buffer embedding;  // [vocabulary, hidden] as stored, first stage only
  kernels::DType embedding_type = kernels::DType::kFloat32;
  kernels::Floats positions;  // [max_positions][hidden], first stage only: learned positions
  kernels::Floats final_norm, final_norm_bias;  // last stage only
  kernels::PackedMatrix head;                   // last stage only
  kernels::Floats head_bias;                    // last stage only
};

// The block for multi-token prediction without its routed experts. Checkpoints store it with copies
// of embedding and head.
struct MtpWeights {
  kernels::Floats embedding_norm, hidden_norm;  // hidden
  kernels::PackedMatrix combine;                // [hidden, 2 * hidden]: embedding first
  kernels::Buffer embedding;                    // [vocabulary, hidden] as stored
  kernels::DType embedding_type = kernels::DType::kFloat32;
  StageWeights stage;  // the one layer behind the model's, its final norm and its head
};

struct EncoderWeights {
  kernels::Buffer embedding;  // [vocabulary, hidden] as stored; empty: the decoder's serves both
  kernels::DType embedding_type = kernels::DType::kFloat32;
  std::vector<RouterLayerWeights> layers;
  kernels::Floats final_norm, final_norm_bias;
};

// Layers [first_layer, last_layer) with embedding when first_layer is 0 and head when last_layer is
// the model's layer count. Missing or wrongly shaped tensors are errors naming them.
absl::StatusOr<StageWeights> LoadStage(const Checkpoint& checkpoint, int64_t first_layer,
                                       int64_t last_layer, kernels::NumericsClass numerics,
                                       kernels::ThreadPool& pool, const LoadProgress& progress);

// Errors for a model without such a part.
absl::StatusOr<MtpWeights> LoadMtp(const Checkpoint& checkpoint, kernels::NumericsClass numerics,
                                   kernels::ThreadPool& pool, const LoadProgress& progress);
absl::StatusOr<EncoderWeights> LoadEncoder(const Checkpoint& checkpoint,
                                           kernels::NumericsClass numerics,
                                           kernels::ThreadPool& pool, const LoadProgress& progress);

// A routed expert; `layer` is an index of ModelSpec::Block.
absl::StatusOr<kernels::ExpertWeights> LoadExpert(const Checkpoint& checkpoint, int64_t layer,
                                                  int64_t expert, kernels::NumericsClass numerics,
                                                  kernels::ThreadPool& pool);

}  // namespace switchyard::model
