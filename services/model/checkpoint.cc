#include "services/model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/base/bf16.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint_digest.h"
#include "services/model/checkpoint_folder.h"
#include "services/model/config_json.h"
#include "services/model/engine_supports.h"
#include "services/model/shard_set.h"

namespace switchyard::model {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
// What one thread reads before it packs: large enough for few system calls, small enough to stay
// in its cache.
constexpr int64_t kPieceBytes = 256 << 10;

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

// A config may promise a block for multi-token prediction that the files leave out; the model is
// whole without it.
void DropMissingMtp(const ShardSet& shards, ModelSpec& spec) {
  if (!spec.mtp) return;
  const std::string prefix = TensorNames(spec, ExpertLayout::kSeparate).MtpPrefix();
  const auto first = shards.tensors().lower_bound(prefix);
  if (first == shards.tensors().end() || !first->first.starts_with(prefix)) spec.mtp.reset();
}

absl::Status ReadAsFloat(const ModelTensor& tensor, int64_t first_row, int64_t rows,
                         float* destination) {
  if (tensor.info().type == kernels::DType::kFloat32) {
    return tensor.ReadRows(first_row, rows, destination);
  }
  std::vector<uint16_t> halves(static_cast<size_t>(rows * tensor.row_elements()));
  RETURN_IF_ERROR(tensor.ReadRows(first_row, rows, halves.data()));
  std::transform(halves.begin(), halves.end(), destination, kernels::Bf16ToFloat);
  return absl::OkStatus();
}

absl::Status CheckRange(const ModelTensor& tensor, const MatrixSource& source) {
  const int64_t last = (source.rows - 1) * source.step;
  const bool fits = source.transposed ? source.first_row + source.columns <= tensor.rows() &&
                                            source.first_column + last < tensor.row_elements()
                                      : source.columns == tensor.row_elements() &&
                                            source.first_row + last < tensor.rows();
  if (fits) return absl::OkStatus();
  return tensor.Error(absl::StrCat("has shape [", absl::StrJoin(tensor.info().shape, ", "), "]; ",
                                   source.rows, " rows of ", source.columns, " from row ",
                                   source.first_row, " were asked for"));
}

// Runs `work(first, count, worker)` for pieces of [0, total) on the pool until one fails.
absl::Status ForPieces(kernels::ThreadPool& pool, int64_t total, int64_t piece,
                       const std::function<absl::Status(int64_t, int64_t, int)>& work) {
  FirstError error;
  pool.ParallelFor((total + piece - 1) / piece, [&](int64_t index, int worker) {
    if (!error.ok()) return;
    const int64_t first = index * piece;
    absl::Status status = work(first, std::min(piece, total - first), worker);
    if (!status.ok()) error.Set(std::move(status));
  });
  return error.Take();
}

absl::StatusOr<kernels::PackedMatrix> PackRows(const ModelTensor& tensor,
                                               const MatrixSource& source,
                                               kernels::NumericsClass numerics,
                                               kernels::ThreadPool& pool) {
  const int64_t row_bytes = tensor.row_bytes();
  constexpr int64_t kPanel = kernels::PackedMatrix::kPanel;
  const int64_t piece_rows =
      std::max<int64_t>(kPieceBytes / row_bytes / source.step / kPanel, 1) * kPanel;
  const int64_t piece_bytes = piece_rows * source.step * row_bytes;
  tensor.Prefetch(source.first_row, (source.rows - 1) * source.step + 1);
  kernels::PackedMatrix matrix(numerics, source.rows, source.columns);
  kernels::Buffer staging(static_cast<size_t>(pool.threads() * piece_bytes));
  RETURN_IF_ERROR(ForPieces(
      pool, source.rows, piece_rows, [&](int64_t first, int64_t rows, int worker) -> absl::Status {
        char* bytes = staging.As<char>() + worker * piece_bytes;
        RETURN_IF_ERROR(tensor.ReadRows(source.first_row + first * source.step,
                                        (rows - 1) * source.step + 1, bytes));
        for (int64_t row = 1; source.step > 1 && row < rows; ++row) {
          std::memmove(bytes + row * row_bytes, bytes + row * source.step * row_bytes,
                       static_cast<size_t>(row_bytes));
        }
        matrix.PackRows(first, rows, bytes, tensor.info().type);
        return absl::OkStatus();
      }));
  return matrix;
}

absl::StatusOr<kernels::PackedMatrix> PackTransposed(const ModelTensor& tensor,
                                                     const MatrixSource& source,
                                                     kernels::NumericsClass numerics,
                                                     kernels::ThreadPool& pool) {
  const int64_t width = tensor.row_elements();
  const auto float_bytes = static_cast<int64_t>(sizeof(float));
  const int64_t piece_rows = std::max<int64_t>(kPieceBytes / (width * float_bytes), 1);
  tensor.Prefetch(source.first_row, source.columns);
  kernels::Buffer upright(static_cast<size_t>(source.rows * source.columns * float_bytes));
  kernels::Buffer staging(static_cast<size_t>(pool.threads() * piece_rows * width * float_bytes));
  RETURN_IF_ERROR(
      ForPieces(pool, source.columns, piece_rows,
                [&](int64_t first, int64_t count, int worker) -> absl::Status {
                  float* stored = staging.As<float>() + worker * piece_rows * width;
                  RETURN_IF_ERROR(ReadAsFloat(tensor, source.first_row + first, count, stored));
                  for (int64_t row = 0; row < source.rows; ++row) {
                    const float* column = stored + source.first_column + row * source.step;
                    float* out = upright.As<float>() + row * source.columns + first;
                    for (int64_t i = 0; i < count; ++i) out[i] = column[i * width];
                  }
                  return absl::OkStatus();
                }));
  kernels::PackedMatrix matrix(numerics, source.rows, source.columns);
  RETURN_IF_ERROR(ForPieces(
      pool, source.rows, kernels::PackedMatrix::kPanel, [&](int64_t first, int64_t rows, int) {
        matrix.PackRows(first, rows, upright.As<float>() + first * source.columns,
                        kernels::DType::kFloat32);
        return absl::OkStatus();
      }));
  return matrix;
}

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
  ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenToRead(folder));
  if (absl::Status status = EngineSupports(checkpoint.spec()); !status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat(folder, "/config.json: ", std::string(status.message())));
  }
  return checkpoint;
}

absl::StatusOr<Checkpoint> Checkpoint::OpenToRead(const std::string& folder) {
  ASSIGN_OR_RETURN(const CheckpointFolder files, CheckpointFolder::Open(folder));
  ASSIGN_OR_RETURN(const std::string config, files.ReadFile("config.json", kMaxConfigBytes));
  ASSIGN_OR_RETURN(ModelSpec spec, ParseConfig(config, files.PathOf("config.json")));
  constexpr char kGeneration[] = "generation_config.json";
  if (files.Contains(kGeneration)) {
    ASSIGN_OR_RETURN(const std::string generation, files.ReadFile(kGeneration, kMaxConfigBytes));
    RETURN_IF_ERROR(ApplyGenerationConfig(generation, files.PathOf(kGeneration), spec));
  }
  ASSIGN_OR_RETURN(ShardSet shards, ShardSet::Open(files));
  DropMissingMtp(shards, spec);
  const auto has = [&](const std::string& name) { return shards.tensors().contains(name); };
  spec.stack_embeddings = TensorNames::HasStackEmbeddings(spec, has);
  const ExpertLayout layout = TensorNames::LayoutOf(spec, has);
  auto state = std::make_unique<State>(std::move(spec), std::move(shards), layout);
  state->folder = folder;
  ASSIGN_OR_RETURN(state->tensors,
                   FindModelTensors(state->shards, state->names, state->spec.quantization, folder));
  state->spec.bfloat16_weights =
      state->tensors.at(state->names.Embedding().tensor).info().type == kernels::DType::kBfloat16;
  ASSIGN_OR_RETURN(state->digest, CheckpointDigest(config, state->shards));
  return Checkpoint(std::move(state));
}

const ModelSpec& Checkpoint::spec() const { return state_->spec; }
const std::string& Checkpoint::folder() const { return state_->folder; }
const TensorNames& Checkpoint::names() const { return state_->names; }
uint64_t Checkpoint::digest() const { return state_->digest; }

const TensorInfo* Checkpoint::Find(std::string_view tensor) const {
  const auto it = state_->tensors.find(tensor);
  return it == state_->tensors.end() ? nullptr : &it->second.info();
}

absl::Status Checkpoint::ReadRows(std::string_view tensor, int64_t first_row, int64_t rows,
                                  void* destination) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  return found->ReadRows(first_row, rows, destination);
}

absl::Status Checkpoint::ReadFloat32(std::string_view tensor, int64_t elements,
                                     float* destination) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  const int64_t stored = found->rows() * found->row_elements();
  if (stored != elements) {
    return found->Error(absl::StrCat("has ", stored, " elements, not ", elements));
  }
  return ReadAsFloat(*found, 0, found->rows(), destination);
}

absl::StatusOr<kernels::Floats> Checkpoint::LoadVector(const VectorSource& source) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(source.tensor));
  // A 1-D tensor has a row an element.
  const bool whole = found->info().shape.size() < 2;
  const int64_t width = whole ? found->rows() : found->row_elements();
  const int64_t last = source.first + (source.elements - 1) * source.step;
  if (last >= width) {
    return found->Error(
        absl::StrCat("has ", width, " elements a row; element ", last, " was asked for"));
  }
  std::vector<float> row(static_cast<size_t>(width));
  RETURN_IF_ERROR(ReadAsFloat(*found, whole ? 0 : source.row, whole ? width : 1, row.data()));
  kernels::Floats values(static_cast<size_t>(source.elements));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = row[static_cast<size_t>(source.first) + i * static_cast<size_t>(source.step)];
  }
  return values;
}

absl::StatusOr<kernels::PackedMatrix> Checkpoint::LoadMatrix(std::string_view tensor, int64_t n,
                                                             int64_t k,
                                                             kernels::NumericsClass numerics,
                                                             kernels::ThreadPool& pool) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(tensor));
  const std::vector<int64_t>& shape = found->info().shape;
  if (shape != std::vector<int64_t>{n, k}) {
    return found->Error(
        absl::StrCat("has shape [", absl::StrJoin(shape, ", "), "], not [", n, ", ", k, "]"));
  }
  return LoadMatrix(MatrixSource{std::string(tensor), 0, n, k}, numerics, pool);
}

absl::StatusOr<kernels::PackedMatrix> Checkpoint::LoadMatrix(const MatrixSource& source,
                                                             kernels::NumericsClass numerics,
                                                             kernels::ThreadPool& pool) const {
  ASSIGN_OR_RETURN(const ModelTensor* found, state_->Require(source.tensor));
  RETURN_IF_ERROR(CheckRange(*found, source));
  return source.transposed ? PackTransposed(*found, source, numerics, pool)
                           : PackRows(*found, source, numerics, pool);
}

}  // namespace switchyard::model
