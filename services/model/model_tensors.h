#pragma once

// The tensors that a spec calls for, found among those of a checkpoint, with how each is stored.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/numerics.h"
#include "services/model/shard_set.h"
#include "services/model/tensor_names.h"

namespace switchyard::model {

struct TensorInfo {
  // Of what ReadRows gives: as stored, or fp32 where the tensor is quantised.
  kernels::DType type;
  std::vector<int64_t> shape;  // of the numbers, not of what they are packed in
};

enum class Encoding { kPlain, kFp8, kMxfp4 };

class ModelTensor {
 public:
  // The tensor `name` of this shape, as itself or quantised as the spec says.
  static absl::StatusOr<ModelTensor> Find(const ShardSet& shards, const std::string& folder,
                                          Quantization quantization, const std::string& name,
                                          const std::vector<int64_t>& shape);

  const TensorInfo& info() const { return info_; }
  int64_t rows() const;  // a 1-D tensor has a row an element
  int64_t row_elements() const;
  int64_t row_bytes() const;  // of what ReadRows gives

  // Names in the file: the tensor's own, or those of its packed numbers and scales.
  const std::vector<std::string>& stored_names() const { return stored_names_; }

  // Rows [first_row, first_row + rows), decoded into info().type. Reads their bytes only.
  absl::Status ReadRows(int64_t first_row, int64_t rows, void* destination) const;
  void Prefetch(int64_t first_row, int64_t rows) const;

  // An error that names file and tensor.
  absl::Status Error(const std::string& text) const;

 private:
  absl::Status ReadFp8(int64_t first_row, int64_t rows, float* destination) const;
  absl::Status ReadMxfp4(int64_t first_row, int64_t rows, float* destination) const;
  int64_t stored_row_bytes() const;

  TensorInfo info_;
  Encoding encoding_ = Encoding::kPlain;
  StoredTensor stored_;
  StoredTensor scales_;  // of quantised ones
  std::vector<std::string> stored_names_;
};

using ModelTensors = std::map<std::string, ModelTensor, std::less<>>;

// Every tensor that the names call for, with the right shape and a type that can be computed with;
// an error when the checkpoint has others that nothing calls for.
absl::StatusOr<ModelTensors> FindModelTensors(const ShardSet& shards, const TensorNames& names,
                                              Quantization quantization, const std::string& folder);

}  // namespace switchyard::model
