#pragma once

// What the tensors of a family are called and how large each must be.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// A matrix on disk: rows [first_row, first_row + rows) of a tensor whose leading dimensions are
// flattened into rows of `columns` elements.
struct MatrixSource {
  std::string tensor;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t columns = 0;
};

struct ExpertSource {
  MatrixSource gate, up, down;
};

// How Mixtral's experts are stored: one tensor a matrix, as on the hub, or all experts of a layer
// in two tensors, as transformers 5 holds them in memory.
enum class ExpertLayout { kSeparate, kFused };

class TensorNames {
 public:
  TensorNames(const ModelSpec& spec, ExpertLayout layout);

  // The tensor whose presence means ExpertLayout::kFused.
  static std::string FusedMarker();

  MatrixSource Embedding() const;
  MatrixSource Head() const;  // the embedding's when they are tied
  std::string FinalNorm() const;
  std::string AttentionNorm(int64_t layer) const;
  std::string FfnNorm(int64_t layer) const;
  MatrixSource Query(int64_t layer) const;
  MatrixSource Key(int64_t layer) const;
  MatrixSource Value(int64_t layer) const;
  MatrixSource AttentionOutput(int64_t layer) const;
  MatrixSource Router(int64_t layer) const;                  // a layer with a router
  ExpertSource Expert(int64_t layer, int64_t expert) const;  // a layer with a router
  ExpertSource Dense(int64_t layer) const;                   // a layer without

  // Calls `visit` with the name and exact shape of every tensor that the model consists of, until
  // it returns an error, which is returned.
  using Visitor = std::function<absl::Status(const std::string&, const std::vector<int64_t>&)>;
  absl::Status ForEach(const Visitor& visit) const;

  // Tensors that some checkpoints carry and no computation needs.
  bool Ignored(std::string_view name) const;

 private:
  const LayerSpec& Layer(int64_t layer) const;
  absl::Status ForEachInLayer(int64_t layer, const Visitor& visit) const;

  ModelSpec spec_;
  ExpertLayout layout_;
};

}  // namespace switchyard::model
