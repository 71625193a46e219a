#include "services/plan/memory.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul.h"
#include "services/base/check.h"
#include "services/model/batch_rows.h"
#include "services/model/kv_layout.h"
#include "services/model/tensor_names.h"
#include "services/model/whole_rows.h"
#include "services/transport/frame.h"

namespace switchyard::plan {
namespace {

using kernels::NumericsClass;
using kernels::PackedMatrix;

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));

// The defaults of the router worker (its RouterOptions), of its engine and of its channels.
constexpr int64_t kMicroBatches = 2;
constexpr int64_t kSlots = 8;  // each way
constexpr int64_t kSlotRows = 512;

int64_t WireBytes(NumericsClass numerics) {
  return static_cast<int64_t>(kernels::SizeOf(kernels::WireType(numerics)));
}

// Matrices packed in `numerics`, vectors as floats.
template <typename... Sources>
int64_t Loaded(NumericsClass numerics, const Sources&... sources) {
  int64_t bytes = 0;
  const auto add = [&](const std::string&, const std::vector<int64_t>& shape) {
    bytes +=
        shape.size() == 2 ? PackedMatrix::BytesOf(numerics, shape[0], shape[1]) : shape[0] * kFloat;
    return absl::OkStatus();
  };
  for (const absl::Status& status : {model::VisitTensors(add, sources)...}) {
    CHECK(status.ok()) << status;
  }
  return bytes;
}

int64_t Table(const model::MatrixSource& source) { return source.rows * source.columns * kFloat; }

int64_t AttentionBytes(const model::AttentionSpec& spec, const model::AttentionSource& source,
                       NumericsClass numerics) {
  model::AttentionSource matrices = source;
  matrices.relative_bias = {};  // a table of floats
  matrices.mla.latent_up = {};  // kept as two matrices a head
  int64_t bytes = Loaded(numerics, source.norm, matrices);
  // Each layer holds its table, also where that is its stack's.
  if (spec.relative) bytes += kFloat * spec.relative->buckets * spec.heads;
  if (spec.kind == model::AttentionKind::kMla) {
    const model::MlaSpec& mla = spec.mla;
    bytes += spec.heads * (PackedMatrix::BytesOf(numerics, mla.kv_lora_rank, mla.nope_dim) +
                           PackedMatrix::BytesOf(numerics, spec.value_dim, mla.kv_lora_rank));
  }
  return bytes;
}

int64_t LayerBytes(const model::LayerSpec& spec, const model::LayerSource& source,
                   NumericsClass numerics) {
  int64_t bytes = AttentionBytes(spec.attention, source.attention, numerics);
  if (spec.cross_attention) {
    bytes += AttentionBytes(*spec.cross_attention, source.cross_attention, numerics);
  }
  // Routers and gates are computed in fp32 in every class.
  return bytes +
         Loaded(NumericsClass::kFp32, source.router, source.router_bias, source.correction_bias,
                source.shared_gate) +
         Loaded(numerics, source.ffn_norm, source.dense, source.shared);
}

// Floats of a row between projection and attention, and elements of attention's output.
int64_t QkvWidth(const model::AttentionSpec& spec) {
  const kernels::KvLayout layout = model::KvLayoutOf(spec, NumericsClass::kFp32);
  return spec.heads * spec.head_dim +
         layout.kv_heads * layout.head_elements() / kernels::KvLayout::kPagePositions;
}

int64_t AttendedWidth(const model::AttentionSpec& spec) {
  return spec.heads * model::KvLayoutOf(spec, NumericsClass::kFp32).value_elements();
}

// Scratch of a row in latent attention: the queries' low rank, the queries of the cache, the
// values, and as it enters a matmul what is not in the wire type. One for both micro-batches.
int64_t LatentScratch(const model::AttentionSpec& spec, NumericsClass numerics) {
  if (spec.kind != model::AttentionKind::kMla) return 0;
  const int64_t wire = WireBytes(numerics);
  const int64_t values = spec.heads * spec.value_dim;
  const int64_t copy = wire == kFloat ? 0 : std::max(QkvWidth(spec), values);
  return spec.mla.q_lora_rank * (kFloat + wire) +
         kFloat * (spec.heads * spec.mla.cache_width() + values) + wire * copy;
}

// Width between the matrices of the FFN that the router worker itself computes.
int64_t LocalIntermediate(const model::FfnSpec& ffn) {
  if (!ffn.router) return ffn.intermediate;
  return ffn.shared ? ffn.shared->intermediate : 0;
}

}  // namespace

int64_t ExpertBytes(const model::ModelSpec& spec, int64_t layer, NumericsClass numerics) {
  const model::TensorNames names(spec, model::ExpertLayout::kSeparate);
  return Loaded(numerics, names.Expert(layer, 0));
}

int64_t RouterWeightBytes(const model::ModelSpec& spec, NumericsClass numerics) {
  const model::TensorNames names(spec, model::ExpertLayout::kSeparate);
  const model::MatrixSource embedding = names.Embedding();
  int64_t bytes =
      embedding.rows * embedding.columns * WireBytes(numerics) + Table(names.Positions()) +
      Loaded(numerics, names.Head(), names.HeadBias(), names.FinalNorm(), names.EncoderFinalNorm());
  const auto decoder = static_cast<int64_t>(spec.layers.size());
  for (int64_t block = 0; block < spec.Blocks(); ++block) {
    if (spec.mtp && block == decoder) continue;
    bytes += LayerBytes(spec.Block(block), names.Layer(block), numerics);
  }
  return bytes;
}

int64_t KvBytesPerToken(const model::ModelSpec& spec, NumericsClass numerics) {
  // The layers of an encoder share the memory of one.
  const auto layers =
      static_cast<int64_t>(spec.layers.size() + (spec.encoder_layers.empty() ? 0 : 1));
  return model::KvPageBytes(spec, 0, layers, numerics) / kernels::KvLayout::kPagePositions;
}

int64_t KvBytes(const model::ModelSpec& spec, NumericsClass numerics, int64_t context,
                int64_t streams) {
  constexpr int64_t kPage = kernels::KvLayout::kPagePositions;
  const int64_t pages = (context + kPage - 1) / kPage;
  return streams * pages * kPage * KvBytesPerToken(spec, numerics);
}

int64_t ActivationBytes(const model::ModelSpec& spec, NumericsClass numerics) {
  int64_t qkv = 0, attended = 0, experts = 0, latent = 0, intermediate = 0;
  for (const model::LayerSpec& layer : spec.layers) {
    qkv = std::max(qkv, QkvWidth(layer.attention));
    attended = std::max(attended, AttendedWidth(layer.attention));
    latent = std::max(latent, LatentScratch(layer.attention, numerics));
    intermediate = std::max(intermediate, LocalIntermediate(layer.ffn));
    if (layer.ffn.router) experts = std::max(experts, layer.ffn.router->experts);
  }
  // The residual stream, its norm and a projection as floats; the norm once more for the wire.
  const int64_t row =
      kFloat * (3 * spec.hidden + qkv + experts) + WireBytes(numerics) * (spec.hidden + attended);
  const int64_t scratch = latent + WireBytes(numerics) * intermediate;
  return model::MicroBatchRows(spec, model::kMicroBatchRows) * (kMicroBatches * row + scratch) +
         model::kLogitsRows * spec.vocabulary * kFloat;
}

int64_t ChannelBytes(const model::ModelSpec& spec, NumericsClass numerics) {
  const int64_t row =
      spec.hidden * WireBytes(numerics) + static_cast<int64_t>(transport::kAssignmentBytes);
  return 2 * kSlots * kSlotRows * row;
}

}  // namespace switchyard::plan
