#include "services/model/checkpoint.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/base/bf16.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint_digest.h"
#include "services/model/checkpoint_folder.h"
#include "services/model/config_json.h"
#include "services/model/shard_set.h"

namespace switchyard::model {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
// What one thread reads before it packs: large enough for few system calls, small enough to stay
// in its cache.
constexpr int64_t kPieceBytes = 256 << 10;

// A tensor that the model consists of.
struct ModelTensor {
  TensorInfo info;
  StoredTensor stored;
};

using ModelTensors = std::map<std::string, ModelTensor, std::less<>>;

std::optional<kernels::DType> ComputeType(StoredType type) {
  if (type == StoredType::kF32) return kernels::DType::kFloat32;
  if (type == StoredType::kBF16) return kernels::DType::kBfloat16;
  return std::nullopt;
}

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status TensorError(const StoredTensor& stored, const std::string& name,
                         const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat(stored.file->path(), ": tensor \"", name, "\" ", text));
}

// Every tensor that the spec asks for, with the right shape and a type that can be computed with.
absl::StatusOr<ModelTensors> RequireTensors(const ShardSet& shards, const TensorNames& names,
                                            const std::string& folder) {
  ModelTensors tensors;
  const auto require = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const auto it = shards.tensors().find(name);
    if (it == shards.tensors().end()) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": tensor \"", name, "\" ",
                                                     Shape(shape),
                                                     ", which config.json calls for, is "
                                                     "missing"));
    }
    const StoredTensor& stored = it->second;
    if (stored.tensor->shape != shape) {
      return TensorError(stored, name,
                         absl::StrCat("has shape ", Shape(stored.tensor->shape),
                                      "; config.json calls for ", Shape(shape)));
    }
    const std::optional<kernels::DType> type = ComputeType(stored.tensor->type);
    if (!type) {
      return TensorError(stored, name,
                         absl::StrCat("has type ", std::string(Name(stored.tensor->type)),
                                      "; only F32 and BF16 can be loaded"));
    }
    tensors[name] = {{*type, shape}, stored};
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(names.ForEach(require));
  return tensors;
}

absl::Status RefuseUnknownTensors(const ShardSet& shards, const ModelTensors& tensors,
                                  const TensorNames& names, const std::string& folder) {
  constexpr size_t kListed = 5;
  std::vector<std::string> listed;
  size_t unknown = 0;
  for (const auto& [name, stored] : shards.tensors()) {
    if (tensors.contains(name) || names.Ignored(name)) continue;
    if (++unknown <= kListed) listed.push_back(absl::StrCat("\"", name, "\""));
  }
  if (unknown == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      folder, ": ", unknown,
      " tensors that config.json does not call for: ", absl::StrJoin(listed, ", "),
      unknown > kListed ? ", ..." : "", ". Loading without them would compute another model"));
}

int64_t RowElements(const TensorInfo& info) {
  return info.shape.size() < 2 ? 1 : info.shape.back();
}

int64_t Rows(const TensorInfo& info) {
  const size_t leading = info.shape.size() < 2 ? info.shape.size() : info.shape.size() - 1;
  int64_t rows = 1;
  for (size_t i = 0; i < leading; ++i) rows *= info.shape[i];
  return rows;
}

// Keeps the first error of several threads.
class FirstError {
 public:
  void Set(absl::Status status) {
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  bool ok() const {
    std::lock_guard lock(mutex_);
    return status_.ok();
  }
  absl::Status Take() { return std::move(status_); }

 private:
  mutable std::mutex mutex_;
  absl::Status status_;
};

}  // namespace

struct Checkpoint::State {
  State(ModelSpec model_spec, ShardSet shard_set, ExpertLayout layout)
      : spec(std::move(model_spec)), shards(std::move(shard_set)), names(spec, layout) {}

  absl::StatusOr<const ModelTensor*> Require(std::string_view name) const {
    const auto it = tensors.find(name);
    if (it != tensors.end()) return &it->second;
    return absl::NotFoundError(absl::StrCat(folder, " has no tensor \"", std::string(name), "\""));
  }

  std::string folder;
  ModelSpec spec;
  ShardSet shards;
  TensorNames names;
  ModelTensors tensors;
  uint64_t digest = 0;
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(const CheckpointFolder files, CheckpointFolder::Open(folder));
  ASSIGN_OR_RETURN(const std::string config, files.ReadFile("config.json", kMaxConfigBytes));
  ASSIGN_OR_RETURN(ModelSpec spec, ParseConfig(config, files.PathOf("config.json")));
  constexpr char kGeneration[] = "generation_config.json";
  if (files.Contains(kGeneration)) {
    ASSIGN_OR_RETURN(const std::string generation, files.ReadFile(kGeneration, kMaxConfigBytes));
    RETURN_IF_ERROR(ApplyGenerationConfig(generation, files.PathOf(kGeneration), spec));
  }
  ASSIGN_OR_RETURN(ShardSet shards, ShardSet::Open(files));
  const bool fused = shards.tensors().contains(TensorNames::FusedMarker());
  auto state = std::make_unique<State>(std::move(spec), std::move(shards),
                                       fused ? ExpertLayout::kFused : ExpertLayout::kSeparate);
  state->folder = folder;
  ASSIGN_OR_RETURN(state->tensors, RequireTensors(state->shards, state->names, folder));
  RETURN_IF_ERROR(RefuseUnknownTensors(state->shards, state->tensors, state->names, folder));
  state->spec.bfloat16_weights =
      state->tensors.at(state->names.Embedding().tensor).info.type == kernels::DType::kBfloat16;
  ASSIGN_OR_RETURN(state->digest, CheckpointDigest(config, state->shards));
  return Checkpoint(std::move(state));
}

const ModelSpec& Checkpoint::spec() const { return state_->spec; }
const std::string& Checkpoint::folder() const { return state_->folder; }
const TensorNames& Checkpoint::names() const { return state_->names; }
uint64_t Checkpoint::digest() const { return state_->digest; }

const TensorInfo* Checkpoint::Find(std::string_view tensor) const {
  const auto it = state_->tensors.find(tensor);
  return it == state_->tensors.end() ? nullptr : &it->second.info;
}

absl::Status Checkpoint::ReadRows(std::string_view tensor, int64_t first_row, int64_t rows,
                                  void* destination) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  if (first_row < 0 || rows < 0 || rows > Rows(found->info) - first_row) {
    return TensorError(found->stored, std::string(tensor),
                       absl::StrCat("has ", Rows(found->info), " rows; ", rows, " from row ",
                                    first_row, " were asked for"));
  }
  const auto row_bytes =
      static_cast<uint64_t>(RowElements(found->info)) * kernels::SizeOf(found->info.type);
  return found->stored.file->Read(*found->stored.tensor,
                                  static_cast<uint64_t>(first_row) * row_bytes,
                                  static_cast<uint64_t>(rows) * row_bytes, destination);
}

absl::Status Checkpoint::ReadFloat32(std::string_view tensor, int64_t elements,
                                     float* destination) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  const SafetensorsTensor& stored = *found->stored.tensor;
  if (stored.elements() != elements) {
    return TensorError(found->stored, std::string(tensor),
                       absl::StrCat("has ", stored.elements(), " elements, not ", elements));
  }
  if (found->info.type == kernels::DType::kFloat32) {
    return found->stored.file->Read(stored, 0, stored.bytes(), destination);
  }
  std::vector<uint16_t> halves(static_cast<size_t>(elements));
  RETURN_IF_ERROR(found->stored.file->Read(stored, 0, stored.bytes(), halves.data()));
  std::transform(halves.begin(), halves.end(), destination, kernels::Bf16ToFloat);
  return absl::OkStatus();
}

absl::StatusOr<kernels::PackedMatrix> Checkpoint::LoadMatrix(std::string_view tensor, int64_t n,
                                                             int64_t k,
                                                             kernels::NumericsClass numerics,
                                                             kernels::ThreadPool& pool) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  if (found->info.shape != std::vector<int64_t>{n, k}) {
    return TensorError(
        found->stored, std::string(tensor),
        absl::StrCat("has shape ", Shape(found->info.shape), ", not ", Shape({n, k})));
  }
  return LoadMatrix(MatrixSource{std::string(tensor), 0, n, k}, numerics, pool);
}

absl::StatusOr<kernels::PackedMatrix> Checkpoint::LoadMatrix(const MatrixSource& source,
                                                             kernels::NumericsClass numerics,
                                                             kernels::ThreadPool& pool) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(source.tensor));
  const TensorInfo& info = found->info;
  if (RowElements(info) != source.columns || source.rows > Rows(info) - source.first_row) {
    return TensorError(
        found->stored, source.tensor,
        absl::StrCat("has shape ", Shape(info.shape), "; ", source.rows, " rows of ",
                     source.columns, " from row ", source.first_row, " were asked for"));
  }
  const auto row_bytes = source.columns * static_cast<int64_t>(kernels::SizeOf(info.type));
  constexpr int64_t kPanel = kernels::PackedMatrix::kPanel;
  const int64_t piece_rows = std::max<int64_t>(kPieceBytes / row_bytes / kPanel, 1) * kPanel;
  const int64_t pieces = (source.rows + piece_rows - 1) / piece_rows;
  found->stored.file->Prefetch(*found->stored.tensor,
                               static_cast<uint64_t>(source.first_row * row_bytes),
                               static_cast<uint64_t>(source.rows * row_bytes));

  kernels::PackedMatrix matrix(numerics, source.rows, source.columns);
  kernels::Buffer staging(static_cast<size_t>(pool.threads() * piece_rows * row_bytes));
  FirstError error;
  pool.ParallelFor(pieces, [&](int64_t piece, int worker) {
    if (!error.ok()) return;
    char* bytes = staging.As<char>() + worker * piece_rows * row_bytes;
    const int64_t first = piece * piece_rows;
    const int64_t rows = std::min(piece_rows, source.rows - first);
    absl::Status status = ReadRows(source.tensor, source.first_row + first, rows, bytes);
    if (!status.ok()) return error.Set(std::move(status));
    matrix.PackRows(first, rows, bytes, info.type);
  });
  RETURN_IF_ERROR(error.Take());
  return matrix;
}

}  // namespace switchyard::model
