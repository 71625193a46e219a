// LoadStage and its like: which tensors a role needs, and in which class.

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
// is read. The places must not move until Run returns. A source without a tensor, something that
// the model does not have, leaves its place empty.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, NumericsClass numerics)
      : checkpoint_(checkpoint), numerics_(numerics) {}

  void Add(MatrixSource source, kernels::PackedMatrix* destination) {
    Add(std::move(source), numerics_, destination);
  }

  void Add(MatrixSource source, NumericsClass numerics, kernels::PackedMatrix* destination) {
    if (source.tensor.empty()) return;
    const TensorInfo* info = checkpoint_.Find(source.tensor);
    CHECK(info != nullptr) << "tensor " << source.tensor;  // Open has seen to it
    const int64_t bytes =
        source.rows * source.columns * static_cast<int64_t>(kernels::SizeOf(info->type));
    bytes_ += bytes;
    matrices_.push_back({std::move(source), bytes, numerics, destination});
  }

  void Add(VectorSource source, kernels::Floats* destination) {
    if (!source.tensor.empty()) vectors_.push_back({std::move(source), destination});
  }

  // A whole matrix that is no matmul's.
  void AddTable(MatrixSource source, kernels::Floats* destination) {
    if (source.tensor.empty()) return;
    destination->resize(static_cast<size_t>(source.rows * source.columns));
    tables_.push_back({std::move(source.tensor), destination});
  }

  void Add(const NormSource& source, kernels::Floats* weight, kernels::Floats* bias) {
    Add(source.weight, weight);
    Add(source.bias, bias);
  }

  void Add(const ExpertSource& source, const FfnSpec& spec, kernels::ExpertWeights* expert) {
    expert->activation = spec.activation;
    expert->limit = static_cast<float>(spec.limit);
    Add(source.gate, &expert->gate);
    Add(source.up, &expert->up);
    Add(source.down, &expert->down);
    Add(source.gate_bias, &expert->gate_bias);
    Add(source.up_bias, &expert->up_bias);
    Add(source.down_bias, &expert->down_bias);
  }

  void Add(const AttentionSource& source, const AttentionSpec& spec, AttentionWeights* weights) {
    Add(source.norm, &weights->norm, &weights->norm_bias);
    Add(source.query, &weights->q);
    Add(source.key, &weights->k);
    Add(source.value, &weights->v);
    Add(source.output, &weights->output);
    Add(source.query_bias, &weights->q_bias);
    Add(source.key_bias, &weights->k_bias);
    Add(source.value_bias, &weights->v_bias);
    Add(source.output_bias, &weights->output_bias);
    Add(source.query_norm, &weights->q_norm);
    Add(source.key_norm, &weights->k_norm);
    Add(source.sinks, &weights->sinks);
    AddTable(source.relative_bias, &weights->relative_bias);
    if (spec.kind == AttentionKind::kMla) Add(source.mla, spec, &weights->mla);
  }

  absl::Status Run(kernels::ThreadPool& pool, const LoadProgress& progress) {
    for (const Vector& vector : vectors_) {
      ASSIGN_OR_RETURN(*vector.destination, checkpoint_.LoadVector(vector.source));
    }
    for (const Table& table : tables_) {
      RETURN_IF_ERROR(checkpoint_.ReadFloat32(table.tensor,
                                              static_cast<int64_t>(table.destination->size()),
                                              table.destination->data()));
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
    int64_t bytes;  // as read
    NumericsClass numerics;
    kernels::PackedMatrix* destination;
  };
  struct Vector {
    VectorSource source;
    kernels::Floats* destination;
  };
  struct Table {
    std::string tensor;
    kernels::Floats* destination;
  };

  // kv_b_proj holds, head after head, nope_dim rows for the keys and value_dim rows for the values.
  // The keys' part is transposed: it multiplies the query instead of the latent.
  void Add(const MlaSource& source, const AttentionSpec& spec, MlaWeights* weights) {
    Add(source.query_down, &weights->query_down);
    Add(source.query_down_bias, &weights->query_down_bias);
    Add(source.query_norm, &weights->query_norm);
    Add(source.query_up, &weights->query_up);
    Add(source.latent, &weights->latent);
    Add(source.latent_bias, &weights->latent_bias);
    Add(source.latent_norm, &weights->latent_norm);
    weights->key_up.resize(static_cast<size_t>(spec.heads));
    weights->value_up.resize(static_cast<size_t>(spec.heads));
    const MlaSpec& mla = spec.mla;
    for (int64_t head = 0; head < spec.heads; ++head) {
      MatrixSource key = source.latent_up;
      key.first_row = head * (mla.nope_dim + spec.value_dim);
      key.rows = mla.kv_lora_rank;
      key.columns = mla.nope_dim;
      key.transposed = true;
      MatrixSource value = source.latent_up;
      value.first_row = key.first_row + mla.nope_dim;
      value.rows = spec.value_dim;
      Add(std::move(key), &weights->key_up[static_cast<size_t>(head)]);
      Add(std::move(value), &weights->value_up[static_cast<size_t>(head)]);
    }
  }

  const Checkpoint& checkpoint_;
  const NumericsClass numerics_;
  std::vector<Matrix> matrices_;
  std::vector<Vector> vectors_;
  std::vector<Table> tables_;
  int64_t bytes_ = 0;
};

void AddLayer(const Checkpoint& checkpoint, int64_t layer, RouterLayerWeights& weights,
              Loader& loader) {
  const LayerSpec& spec = checkpoint.spec().Block(layer);
  const LayerSource source = checkpoint.names().Layer(layer);
  loader.Add(source.attention, spec.attention, &weights.attention);
  if (spec.attention.relative && !spec.attention.relative->own_table) {
    const int64_t decoder_layers = std::ssize(checkpoint.spec().layers);
    const int64_t first_of_stack = layer < decoder_layers ? 0 : decoder_layers;
    loader.AddTable(checkpoint.names().Layer(first_of_stack).attention.relative_bias,
                    &weights.attention.relative_bias);
  }
  if (spec.cross_attention) {
    loader.Add(source.cross_attention, *spec.cross_attention, &weights.cross_attention);
  }
  loader.Add(source.ffn_norm, &weights.ffn_norm, &weights.ffn_norm_bias);
  loader.Add(source.router, NumericsClass::kFp32, &weights.router);
  loader.Add(source.router_bias, &weights.router_bias);
  loader.Add(source.correction_bias, &weights.correction_bias);
  loader.Add(source.dense, spec.ffn, &weights.dense);
  loader.Add(source.shared, spec.ffn, &weights.shared);
  loader.Add(source.shared_gate, NumericsClass::kFp32, &weights.shared_gate);
}

// All rows as TensorInfo::type.
absl::StatusOr<kernels::Buffer> ReadTable(const Checkpoint& checkpoint, const MatrixSource& source,
                                          kernels::DType* type) {
  *type = checkpoint.Find(source.tensor)->type;
  kernels::Buffer table(static_cast<size_t>(source.rows * source.columns) * kernels::SizeOf(*type));
  RETURN_IF_ERROR(checkpoint.ReadRows(source.tensor, 0, source.rows, table.data()));
  return table;
}

absl::Status Lacks(const Checkpoint& checkpoint, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(checkpoint.folder(), " has no ", what));
}

}  // namespace

absl::StatusOr<StageWeights> LoadStage(const Checkpoint& checkpoint, int64_t first_layer,
                                       int64_t last_layer, NumericsClass numerics,
                                       kernels::ThreadPool& pool, const LoadProgress& progress) {
  const ModelSpec& spec = checkpoint.spec();
  const TensorNames& names = checkpoint.names();
  const auto layers = static_cast<int64_t>(spec.layers.size());
  if (first_layer < 0 || first_layer > last_layer || last_layer > layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", first_layer, " to ", last_layer,
                                                   " asked of ", checkpoint.folder(),
                                                   ", which has ", layers));
  }
  StageWeights stage;
  stage.first_layer = first_layer;
  stage.layers.resize(static_cast<size_t>(last_layer - first_layer));
  Loader loader(checkpoint, numerics);
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    AddLayer(checkpoint, layer, stage.layers[static_cast<size_t>(layer - first_layer)], loader);
  }
  if (last_layer == layers) {
    loader.Add(names.FinalNorm(), &stage.final_norm, &stage.final_norm_bias);
    loader.Add(names.Head(), &stage.head);
    loader.Add(names.HeadBias(), &stage.head_bias);
  }
  if (first_layer == 0) {
    ASSIGN_OR_RETURN(stage.embedding,
                     ReadTable(checkpoint, names.Embedding(), &stage.embedding_type));
    loader.AddTable(names.Positions(), &stage.positions);
  }
  RETURN_IF_ERROR(loader.Run(pool, progress));
  return stage;
}

absl::StatusOr<MtpWeights> LoadMtp(const Checkpoint& checkpoint, NumericsClass numerics,
                                   kernels::ThreadPool& pool, const LoadProgress& progress) {
  const ModelSpec& spec = checkpoint.spec();
  if (!spec.mtp) return Lacks(checkpoint, "block for multi-token prediction");
  const MtpSource source = checkpoint.names().Mtp();
  MtpWeights mtp;
  StageWeights& stage = mtp.stage;
  stage.first_layer = static_cast<int64_t>(spec.layers.size());
  stage.layers.resize(1);
  Loader loader(checkpoint, numerics);
  loader.Add(source.embedding_norm, &mtp.embedding_norm);
  loader.Add(source.hidden_norm, &mtp.hidden_norm);
  loader.Add(source.combine, &mtp.combine);
  AddLayer(checkpoint, stage.first_layer, stage.layers.front(), loader);
  loader.Add(source.final_norm, &stage.final_norm);
  loader.Add(source.head, &stage.head);
  ASSIGN_OR_RETURN(mtp.embedding, ReadTable(checkpoint, source.embedding, &mtp.embedding_type));
  RETURN_IF_ERROR(loader.Run(pool, progress));
  return mtp;
}

absl::StatusOr<EncoderWeights> LoadEncoder(const Checkpoint& checkpoint, NumericsClass numerics,
                                           kernels::ThreadPool& pool,
                                           const LoadProgress& progress) {
  const ModelSpec& spec = checkpoint.spec();
  if (spec.encoder_layers.empty()) return Lacks(checkpoint, "encoder");
  EncoderWeights encoder;
  encoder.layers.resize(spec.encoder_layers.size());
  Loader loader(checkpoint, numerics);
  for (size_t i = 0; i < encoder.layers.size(); ++i) {
    AddLayer(checkpoint, static_cast<int64_t>(spec.layers.size() + i), encoder.layers[i], loader);
  }
  loader.Add(checkpoint.names().EncoderFinalNorm(), &encoder.final_norm, &encoder.final_norm_bias);
  if (spec.stack_embeddings) {
    ASSIGN_OR_RETURN(encoder.embedding, ReadTable(checkpoint, checkpoint.names().EncoderEmbedding(),
                                                  &encoder.embedding_type));
  }
  RETURN_IF_ERROR(loader.Run(pool, progress));
  return encoder;
}

absl::StatusOr<kernels::ExpertWeights> LoadExpert(const Checkpoint& checkpoint, int64_t layer,
                                                  int64_t expert, NumericsClass numerics,
                                                  kernels::ThreadPool& pool) {
  const ModelSpec& spec = checkpoint.spec();
  if (layer < 0 || layer >= spec.Blocks() || expert < 0 || !spec.Block(layer).ffn.router ||
      expert >= spec.Block(layer).ffn.router->experts) {
    return Lacks(checkpoint, absl::StrCat("expert ", expert, " in layer ", layer));
  }
  kernels::ExpertWeights weights;
  Loader loader(checkpoint, numerics);
  loader.Add(checkpoint.names().Expert(layer, expert), spec.Block(layer).ffn, &weights);
  RETURN_IF_ERROR(loader.Run(pool, LoadProgress()));
  return weights;
}

}  // namespace switchyard::model
