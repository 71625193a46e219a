#pragma once

// Which tensors a model consists of, what they are called and how large each must be: the family's
// table (families/family.h) applied to a spec.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/model/families/family.h"
#include "services/model/model_spec.h"

namespace switchyard::model {

// A matrix on disk. The tensor's leading dimensions are flattened: T[row][column]. Then
//   M[r][c] = T[first_row + r * step][c], over all columns, or where it is `transposed`
//   M[r][c] = T[first_row + c][first_column + r * step].
struct MatrixSource {
  std::string tensor;  // empty: the model has no such matrix
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t step = 1;
  bool transposed = false;
  int64_t first_column = 0;
};

// Elements first, first + step, ... of row `row` of a tensor, which is the tensor where it has one
// dimension.
struct VectorSource {
  std::string tensor;  // empty: the model has no such vector
  int64_t elements = 0;
  int64_t row = 0;
  int64_t first = 0;
  int64_t step = 1;
};

struct NormSource {
  VectorSource weight, bias;
};

struct ExpertSource {
  MatrixSource gate, up, down;
  VectorSource gate_bias, up_bias, down_bias;
};

struct MlaSource {
  MatrixSource query_down, query_up;  // with q_lora_rank
  VectorSource query_down_bias, query_norm;
  MatrixSource latent;  // [kv_lora_rank + rope_dim, hidden]
  VectorSource latent_bias, latent_norm;
  MatrixSource latent_up;  // [heads * (nope_dim + value_dim), kv_lora_rank]
};

struct AttentionSource {
  NormSource norm;
  MatrixSource query, key, value, output;
  VectorSource query_bias, key_bias, value_bias, output_bias;
  VectorSource query_norm, key_norm, sinks;
  MatrixSource relative_bias;  // [buckets, heads]
  MlaSource mla;
};

// A layer without its routed experts.
struct LayerSource {
  AttentionSource attention, cross_attention;
  NormSource ffn_norm;
  ExpertSource dense;  // a layer without a router
  MatrixSource router;
  VectorSource router_bias, correction_bias;
  ExpertSource shared;
  MatrixSource shared_gate;  // [1, hidden]
};

// What an MTP block has besides a layer.
struct MtpSource {
  VectorSource embedding_norm, hidden_norm, final_norm;
  MatrixSource combine;  // [hidden, 2 * hidden]: of the embedding, then of the hidden state
  MatrixSource embedding, head;
};

// How a layer's experts are stored.
enum class ExpertLayout {
  kSeparate,            // a tensor a matrix, as on the hub
  kFused,               // all in two tensors, gate rows then up rows, as transformers 5 holds them
  kAlternatingColumns,  // all in two tensors, [experts, in, out], gate and up in turn (gpt-oss)
  kAlternatingRows      // the same as [experts, out, in]: gpt-oss in MXFP4
};

// Called with a tensor's name and exact shape before quantisation; its error ends the visit.
using TensorVisitor = std::function<absl::Status(const std::string&, const std::vector<int64_t>&)>;

// Visits the tensors of a source: a matrix has two dimensions, a vector one, and what the model
// does not have is left out.
absl::Status VisitTensors(const TensorVisitor& visit, const MatrixSource& source);
absl::Status VisitTensors(const TensorVisitor& visit, const VectorSource& source);
absl::Status VisitTensors(const TensorVisitor& visit, const NormSource& source);
absl::Status VisitTensors(const TensorVisitor& visit, const ExpertSource& source);
absl::Status VisitTensors(const TensorVisitor& visit, const AttentionSource& source);  // no norm

class TensorNames {
 public:
  // The layout of a checkpoint; `has` says whether it has a tensor.
  static ExpertLayout LayoutOf(const ModelSpec& spec,
                               const std::function<bool(const std::string&)>& has);

  static bool HasStackEmbeddings(const ModelSpec& spec,
                                 const std::function<bool(const std::string&)>& has);

  // spec.family must be a known one.
  TensorNames(const ModelSpec& spec, ExpertLayout layout);

  MatrixSource Embedding() const;         // the decoder's, where each stack has one
  MatrixSource EncoderEmbedding() const;  // empty where one serves both
  MatrixSource Positions() const;         // learned ones
  MatrixSource Head() const;              // the embedding's when they are tied
  VectorSource HeadBias() const;
  NormSource FinalNorm() const;
  NormSource EncoderFinalNorm() const;
  // `layer` is an index of ModelSpec::Block.
  LayerSource Layer(int64_t layer) const;
  ExpertSource Expert(int64_t layer, int64_t expert) const;  // a layer with a router
  MtpSource Mtp() const;                                     // a model with an MTP block

  // Visits every tensor that the model consists of.
  absl::Status ForEach(const TensorVisitor& visit) const;

  // Tensors that some checkpoints carry and no computation needs.
  bool Ignored(std::string_view name) const;

  // What the names of an MTP block begin with; empty where the family has none.
  std::string MtpPrefix() const;

 private:
  // Where a layer's names come from.
  struct Place {
    const LayerSpec& spec;
    const LayerNames& names;
    std::string prefix;

    std::string Weight(std::string_view module) const;
    std::string Tensor(std::string_view name) const;
  };

  Place At(int64_t layer) const;
  NormSource Norm(const std::string& module) const;
  AttentionSource Attention(const Place& place, const AttentionSpec& spec,
                            const AttentionNames& names) const;
  void SetMla(const Place& place, const AttentionSpec& spec, AttentionSource& source) const;
  ExpertSource Network(const std::string& prefix, const FfnNames& names, const FfnSpec& ffn,
                       int64_t width) const;
  ExpertSource AlternatingExpert(const Place& place, int64_t expert) const;
  absl::Status ForEachInLayer(int64_t layer, const TensorVisitor& visit) const;
  absl::Status ForEachExpert(int64_t layer, const TensorVisitor& visit) const;

  ModelSpec spec_;
  ExpertLayout layout_;
  const FamilyNames& names_;
};

}  // namespace switchyard::model
