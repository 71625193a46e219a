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
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/matmul/matmul.h"
#include "services/model/model_spec.h"
#include "services/model/tensor_names.h"

namespace switchyard::model {

struct TensorInfo {
  kernels::DType type;
  std::vector<int64_t> shape;
};

// Immutable after Open; all const methods are safe from any thread. Move-only.
class Checkpoint {
 public:
  // Refuses what hardening rows 20, 21 and 23 list, with an error that names file, tensor or key.
  static absl::StatusOr<Checkpoint> Open(const std::string& folder);

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

  // Reads rows [first_row, first_row + rows), as stored, into `destination`. A row is an element of
  // a 1-D tensor and a run of the last dimension of any other, leading dimensions flattened.
  absl::Status ReadRows(std::string_view tensor, int64_t first_row, int64_t rows,
                        void* destination) const;

  // Reads a whole tensor and widens or rounds it to fp32. `elements` must be its element count.
  absl::Status ReadFloat32(std::string_view tensor, int64_t elements, float* destination) const;

  // Reads a matrix in pieces of a few panels straight into packed form. The pool's threads share
  // the work; memory beyond the result is a bounded piece for each of them.
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

// Weights of one router worker's layers (everything but the experts).
struct AttentionWeights {
  std::vector<float> norm;  // hidden
  kernels::PackedMatrix q, k, v, output;
};
struct RouterLayerWeights {
  AttentionWeights attention;
  std::vector<float> ffn_norm;   // hidden
  kernels::PackedMatrix router;  // class fp32 in every numerics class; empty in a dense layer
  kernels::ExpertWeights dense;  // only in a dense layer
};
struct StageWeights {
  int64_t first_layer = 0;
  std::vector<RouterLayerWeights> layers;
  kernels::Buffer embedding;  // [vocabulary, hidden] as stored, first stage only
  kernels::DType embedding_type = kernels::DType::kFloat32;
  std::vector<float> final_norm;  // last stage only
  kernels::PackedMatrix head;     // last stage only
};

// Layers [first_layer, last_layer) with embedding when first_layer is 0 and head when last_layer is
// the model's layer count. Missing or wrongly shaped tensors are errors naming them.
absl::StatusOr<StageWeights> LoadStage(const Checkpoint& checkpoint, int64_t first_layer,
                                       int64_t last_layer, kernels::NumericsClass numerics,
                                       kernels::ThreadPool& pool, const LoadProgress& progress);

absl::StatusOr<kernels::ExpertWeights> LoadExpert(const Checkpoint& checkpoint, int64_t layer,
                                                  int64_t expert, kernels::NumericsClass numerics,
                                                  kernels::ThreadPool& pool);

}  // namespace switchyard::model
