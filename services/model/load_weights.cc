// LoadStage and LoadExpert: which tensors a role needs, and in which class.

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint.h"

namespace switchyard::model {
namespace {

using kernels::NumericsClass;

// Loads into places that are named first, so that the bytes to come are known before the first one
// is read. The places must not move until Run returns.
class Loader {
 public:
  explicit Loader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void Add(MatrixSource source, NumericsClass numerics, kernels::PackedMatrix* destination) {
    const TensorInfo* info = checkpoint_.Find(source.tensor);
    CHECK(info != nullptr) << "tensor " << source.tensor;  // Open has seen to it
    const int64_t bytes =
        source.rows * source.columns * static_cast<int64_t>(kernels::SizeOf(info->type));
    bytes_ += bytes;
    matrices_.push_back({std::move(source), bytes, numerics, destination});
  }

  void Add(std::string tensor, int64_t elements, std::vector<float>* destination) {
    destination->resize(static_cast<size_t>(elements));
    vectors_.push_back({std::move(tensor), destination});
  }

  void Add(const ExpertSource& source, NumericsClass numerics, kernels::ExpertWeights* expert) {
    Add(source.gate, numerics, &expert->gate);
    Add(source.up, numerics, &expert->up);
    Add(source.down, numerics, &expert->down);
  }

  absl::Status Run(kernels::ThreadPool& pool, const LoadProgress& progress) {
    for (const Vector& vector : vectors_) {
      RETURN_IF_ERROR(checkpoint_.ReadFloat32(vector.tensor,
                                              static_cast<int64_t>(vector.destination->size()),
                                              vector.destination->data()));
    }
    int64_t done = 0;
    for (const Matrix& matrix : matrices_) {
      ASSIGN_OR_RETURN(*matrix.destination,
                       checkpoint_.LoadMatrix(matrix.source, matrix.numerics, pool));
      done += matrix.bytes;
      if (progress) progress(done, bytes_);
    }
    return absl::OkStatus();
  }

 private:
  struct Matrix {
    MatrixSource source;
    int64_t bytes;  // as stored
    NumericsClass numerics;
    kernels::PackedMatrix* destination;
  };
  struct Vector {
    std::string tensor;
    std::vector<float>* destination;
  };

  const Checkpoint& checkpoint_;
  std::vector<Matrix> matrices_;
  std::vector<Vector> vectors_;
  int64_t bytes_ = 0;
};

void AddLayer(const Checkpoint& checkpoint, int64_t layer, NumericsClass numerics,
              RouterLayerWeights& weights, Loader& loader) {
  const TensorNames& names = checkpoint.names();
  const int64_t hidden = checkpoint.spec().hidden;
  loader.Add(names.AttentionNorm(layer), hidden, &weights.attention.norm);
  loader.Add(names.Query(layer), numerics, &weights.attention.q);
  loader.Add(names.Key(layer), numerics, &weights.attention.k);
  loader.Add(names.Value(layer), numerics, &weights.attention.v);
  loader.Add(names.AttentionOutput(layer), numerics, &weights.attention.output);
  loader.Add(names.FfnNorm(layer), hidden, &weights.ffn_norm);
  if (checkpoint.spec().layers[static_cast<size_t>(layer)].ffn.router) {
    loader.Add(names.Router(layer), NumericsClass::kFp32, &weights.router);
  } else {
    loader.Add(names.Dense(layer), numerics, &weights.dense);
  }
}

}  // namespace

absl::StatusOr<StageWeights> LoadStage(const Checkpoint& checkpoint, int64_t first_layer,
                                       int64_t last_layer, NumericsClass numerics,
                                       kernels::ThreadPool& pool, const LoadProgress& progress) {
  const ModelSpec& spec = checkpoint.spec();
  const auto layers = static_cast<int64_t>(spec.layers.size());
  if (first_layer < 0 || first_layer > last_layer || last_layer > layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", first_layer, " to ", last_layer,
                                                   " asked of ", checkpoint.folder(),
                                                   ", which has ", layers));
  }
  StageWeights stage;
  stage.first_layer = first_layer;
  stage.layers.resize(static_cast<size_t>(last_layer - first_layer));
  Loader loader(checkpoint);
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    AddLayer(checkpoint, layer, numerics, stage.layers[static_cast<size_t>(layer - first_layer)],
             loader);
  }
  if (last_layer == layers) {
    loader.Add(checkpoint.names().FinalNorm(), spec.hidden, &stage.final_norm);
    loader.Add(checkpoint.names().Head(), numerics, &stage.head);
  }
  if (first_layer == 0) {
    const MatrixSource source = checkpoint.names().Embedding();
    stage.embedding_type = checkpoint.Find(source.tensor)->type;
    stage.embedding = kernels::Buffer(static_cast<size_t>(source.rows * source.columns) *
                                      kernels::SizeOf(stage.embedding_type));
    RETURN_IF_ERROR(checkpoint.ReadRows(source.tensor, 0, source.rows, stage.embedding.data()));
  }
  RETURN_IF_ERROR(loader.Run(pool, progress));
  return stage;
}

absl::StatusOr<kernels::ExpertWeights> LoadExpert(const Checkpoint& checkpoint, int64_t layer,
                                                  int64_t expert, NumericsClass numerics,
                                                  kernels::ThreadPool& pool) {
  const std::vector<LayerSpec>& layers = checkpoint.spec().layers;
  if (layer < 0 || layer >= static_cast<int64_t>(layers.size()) || expert < 0 ||
      !layers[static_cast<size_t>(layer)].ffn.router ||
      expert >= layers[static_cast<size_t>(layer)].ffn.router->experts) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.folder(), " has no expert ", expert, " in layer ", layer));
  }
  kernels::ExpertWeights weights;
  Loader loader(checkpoint);
  loader.Add(checkpoint.names().Expert(layer, expert), numerics, &weights);
  RETURN_IF_ERROR(loader.Run(pool, LoadProgress()));
  return weights;
}

}  // namespace switchyard::model
