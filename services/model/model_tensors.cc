#include "services/model/model_tensors.h"

#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"
#include "services/model/dequantize.h"

namespace switchyard::model {
namespace {

using Shape = std::vector<int64_t>;

std::string Text(const Shape& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

std::optional<kernels::DType> ComputeType(StoredType type) {
  if (type == StoredType::kF32) return kernels::DType::kFloat32;
  if (type == StoredType::kBF16) return kernels::DType::kBfloat16;
  return std::nullopt;
}

absl::Status TensorError(const StoredTensor& stored, const std::string& name,
                         const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat(stored.file->path(), ": tensor \"", name, "\" ", text));
}

absl::StatusOr<StoredTensor> Require(const ShardSet& shards, const std::string& folder,
                                     const std::string& name, const Shape& shape) {
  const auto it = shards.tensors().find(name);
  if (it == shards.tensors().end()) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": tensor \"", name, "\" ", Text(shape),
                                                   ", which config.json calls for, is missing"));
  }
  if (it->second.tensor->shape != shape) {
    return TensorError(it->second, name,
                       absl::StrCat("has shape ", Text(it->second.tensor->shape),
                                    "; config.json calls for ", Text(shape)));
  }
  return it->second;
}

absl::StatusOr<StoredTensor> RequireType(const ShardSet& shards, const std::string& folder,
                                         const std::string& name, const Shape& shape,
                                         StoredType type) {
  ASSIGN_OR_RETURN(const StoredTensor stored, Require(shards, folder, name, shape));
  if (stored.tensor->type == type) return stored;
  return TensorError(stored, name,
                     absl::StrCat("has type ", std::string(Name(stored.tensor->type)), "; must be ",
                                  std::string(Name(type))));
}

bool Has(const ShardSet& shards, const std::string& name) {
  return shards.tensors().find(name) != shards.tensors().end();
}

}  // namespace

absl::StatusOr<ModelTensor> ModelTensor::Find(const ShardSet& shards, const std::string& folder,
                                              Quantization quantization, const std::string& name,
                                              const Shape& shape) {
  ModelTensor tensor;
  tensor.info_ = {kernels::DType::kFloat32, shape};
  const std::string blocks = name + "_blocks";
  if (quantization == Quantization::kMxfp4 && Has(shards, blocks)) {
    if (shape.back() % kMxfp4Block != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder, ": tensor \"", name, "\" ", Text(shape),
          ", which config.json calls for, cannot be MXFP4: rows must be multiples of 32"));
    }
    Shape grid = shape;
    grid.back() /= kMxfp4Block;
    Shape packed = grid;
    packed.push_back(kMxfp4Block / 2);
    tensor.encoding_ = Encoding::kMxfp4;
    tensor.stored_names_ = {blocks, name + "_scales"};
    ASSIGN_OR_RETURN(tensor.stored_,
                     RequireType(shards, folder, tensor.stored_names_[0], packed, StoredType::kU8));
    ASSIGN_OR_RETURN(tensor.scales_,
                     RequireType(shards, folder, tensor.stored_names_[1], grid, StoredType::kU8));
    return tensor;
  }
  tensor.stored_names_ = {name};
  ASSIGN_OR_RETURN(tensor.stored_, Require(shards, folder, name, shape));
  const StoredType type = tensor.stored_.tensor->type;
  if (quantization == Quantization::kFp8Block && type == StoredType::kF8E4M3 && shape.size() == 2) {
    tensor.encoding_ = Encoding::kFp8;
    tensor.stored_names_.push_back(name + "_scale_inv");
    ASSIGN_OR_RETURN(tensor.scales_,
                     RequireType(shards, folder, tensor.stored_names_[1],
                                 {Fp8Blocks(shape[0]), Fp8Blocks(shape[1])}, StoredType::kF32));
    return tensor;
  }
  const std::optional<kernels::DType> compute_type = ComputeType(type);
  if (!compute_type) {
    return TensorError(
        tensor.stored_, name,
        absl::StrCat("has type ", std::string(Name(type)), "; only F32 and BF16 can be loaded",
                     quantization == Quantization::kFp8Block ? ", and F8_E4M3 for matrices" : ""));
  }
  tensor.info_.type = *compute_type;
  return tensor;
}

int64_t ModelTensor::row_elements() const {
  return info_.shape.size() < 2 ? 1 : info_.shape.back();
}

int64_t ModelTensor::rows() const {
  const size_t leading = info_.shape.size() < 2 ? info_.shape.size() : info_.shape.size() - 1;
  int64_t rows = 1;
  for (size_t i = 0; i < leading; ++i) rows *= info_.shape[i];
  return rows;
}

int64_t ModelTensor::row_bytes() const {
  return row_elements() * static_cast<int64_t>(kernels::SizeOf(info_.type));
}

int64_t ModelTensor::stored_row_bytes() const {
  switch (encoding_) {
    case Encoding::kPlain:
      return row_bytes();
    case Encoding::kFp8:
      return row_elements();
    case Encoding::kMxfp4:
      return row_elements() / 2;
  }
  return 0;
}

absl::Status ModelTensor::Error(const std::string& text) const {
  return TensorError(stored_, stored_names_.front(), text);
}

absl::Status ModelTensor::ReadRows(int64_t first_row, int64_t count, void* destination) const {
  if (first_row < 0 || count < 0 || count > rows() - first_row) {
    return Error(
        absl::StrCat("has ", rows(), " rows; ", count, " from row ", first_row, " were asked for"));
  }
  switch (encoding_) {
    case Encoding::kFp8:
      return ReadFp8(first_row, count, static_cast<float*>(destination));
    case Encoding::kMxfp4:
      return ReadMxfp4(first_row, count, static_cast<float*>(destination));
    case Encoding::kPlain:
      break;
  }
  return stored_.file->Read(*stored_.tensor, static_cast<uint64_t>(first_row * row_bytes()),
                            static_cast<uint64_t>(count * row_bytes()), destination);
}

absl::Status ModelTensor::ReadFp8(int64_t first_row, int64_t count, float* destination) const {
  if (count == 0) return absl::OkStatus();
  const int64_t columns = row_elements();
  const int64_t grid_width = Fp8Blocks(columns);
  const int64_t first_block = first_row / kFp8Block;
  const int64_t blocks = Fp8Blocks(first_row + count) - first_block;
  std::vector<float> scales(static_cast<size_t>(blocks * grid_width));
  std::vector<uint8_t> weights(static_cast<size_t>(count * columns));
  RETURN_IF_ERROR(scales_.file->Read(
      *scales_.tensor, static_cast<uint64_t>(first_block * grid_width) * sizeof(float),
      scales.size() * sizeof(float), scales.data()));
  RETURN_IF_ERROR(stored_.file->Read(*stored_.tensor, static_cast<uint64_t>(first_row * columns),
                                     weights.size(), weights.data()));
  DequantizeFp8(weights.data(), scales.data(), first_row, count, columns, destination);
  return absl::OkStatus();
}

absl::Status ModelTensor::ReadMxfp4(int64_t first_row, int64_t count, float* destination) const {
  const int64_t columns = row_elements();
  const int64_t grid_width = columns / kMxfp4Block;
  std::vector<uint8_t> scales(static_cast<size_t>(count * grid_width));
  std::vector<uint8_t> blocks(static_cast<size_t>(count * stored_row_bytes()));
  RETURN_IF_ERROR(scales_.file->Read(*scales_.tensor, static_cast<uint64_t>(first_row * grid_width),
                                     scales.size(), scales.data()));
  RETURN_IF_ERROR(stored_.file->Read(*stored_.tensor,
                                     static_cast<uint64_t>(first_row * stored_row_bytes()),
                                     blocks.size(), blocks.data()));
  DequantizeMxfp4(blocks.data(), scales.data(), count, columns, destination);
  return absl::OkStatus();
}

void ModelTensor::Prefetch(int64_t first_row, int64_t count) const {
  stored_.file->Prefetch(*stored_.tensor, static_cast<uint64_t>(first_row * stored_row_bytes()),
                         static_cast<uint64_t>(count * stored_row_bytes()));
}

absl::StatusOr<ModelTensors> FindModelTensors(const ShardSet& shards, const TensorNames& names,
                                              Quantization quantization,
                                              const std::string& folder) {
  ModelTensors tensors;
  std::set<std::string, std::less<>> used;
  RETURN_IF_ERROR(names.ForEach([&](const std::string& name, const Shape& shape) {
    ASSIGN_OR_RETURN(ModelTensor tensor,
                     ModelTensor::Find(shards, folder, quantization, name, shape));
    used.insert(tensor.stored_names().begin(), tensor.stored_names().end());
    tensors.insert_or_assign(name, std::move(tensor));
    return absl::OkStatus();
  }));

  constexpr size_t kListed = 5;
  std::vector<std::string> listed;
  size_t unknown = 0;
  for (const auto& [name, stored] : shards.tensors()) {
    if (used.contains(name) || names.Ignored(name)) continue;
    if (++unknown <= kListed) listed.push_back(absl::StrCat("\"", name, "\""));
  }
  if (unknown == 0) return tensors;
  return absl::InvalidArgumentError(absl::StrCat(
      folder, ": ", unknown,
      " tensors that config.json does not call for: ", absl::StrJoin(listed, ", "),
      unknown > kListed ? ", ..." : "", ". Loading without them would compute another model"));
}

}  // namespace switchyard::model
