#include "services/model/tensor_names.h"

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace switchyard::model {
namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";

std::string InLayer(int64_t layer, const std::string& name) {
  return absl::StrCat("model.layers.", layer, ".", name);
}

}  // namespace

TensorNames::TensorNames(const ModelSpec& spec, ExpertLayout layout)
    : spec_(spec), layout_(layout) {}

std::string TensorNames::FusedMarker() { return InLayer(0, "mlp.experts.gate_up_proj"); }

const LayerSpec& TensorNames::Layer(int64_t layer) const {
  CHECK(layer >= 0 && layer < static_cast<int64_t>(spec_.layers.size())) << "layer " << layer;
  return spec_.layers[static_cast<size_t>(layer)];
}

MatrixSource TensorNames::Embedding() const {
  return {kEmbedding, 0, spec_.vocabulary, spec_.hidden};
}

MatrixSource TensorNames::Head() const {
  return {spec_.tied_embeddings ? kEmbedding : kHead, 0, spec_.vocabulary, spec_.hidden};
}

std::string TensorNames::FinalNorm() const { return "model.norm.weight"; }

std::string TensorNames::AttentionNorm(int64_t layer) const {
  return InLayer(layer, "input_layernorm.weight");
}

std::string TensorNames::FfnNorm(int64_t layer) const {
  return InLayer(layer, "post_attention_layernorm.weight");
}

MatrixSource TensorNames::Query(int64_t layer) const {
  const AttentionSpec& attention = Layer(layer).attention;
  return {InLayer(layer, "self_attn.q_proj.weight"), 0, attention.heads * attention.head_dim,
          spec_.hidden};
}

MatrixSource TensorNames::Key(int64_t layer) const {
  const AttentionSpec& attention = Layer(layer).attention;
  return {InLayer(layer, "self_attn.k_proj.weight"), 0, attention.kv_heads * attention.head_dim,
          spec_.hidden};
}

MatrixSource TensorNames::Value(int64_t layer) const {
  const AttentionSpec& attention = Layer(layer).attention;
  return {InLayer(layer, "self_attn.v_proj.weight"), 0, attention.kv_heads * attention.head_dim,
          spec_.hidden};
}

MatrixSource TensorNames::AttentionOutput(int64_t layer) const {
  const AttentionSpec& attention = Layer(layer).attention;
  return {InLayer(layer, "self_attn.o_proj.weight"), 0, spec_.hidden,
          attention.heads * attention.head_dim};
}

MatrixSource TensorNames::Router(int64_t layer) const {
  const std::string name =
      layout_ == ExpertLayout::kFused ? "mlp.gate.weight" : "block_sparse_moe.gate.weight";
  return {InLayer(layer, name), 0, Layer(layer).ffn.router->experts, spec_.hidden};
}

ExpertSource TensorNames::Expert(int64_t layer, int64_t expert) const {
  const FfnSpec& ffn = Layer(layer).ffn;
  CHECK(ffn.router && expert >= 0 && expert < ffn.router->experts)
      << "layer " << layer << " expert " << expert;
  const int64_t width = ffn.intermediate;
  if (layout_ == ExpertLayout::kFused) {
    // [experts, gate rows then up rows, hidden] and [experts, hidden, intermediate]
    const std::string gate_up = InLayer(layer, "mlp.experts.gate_up_proj");
    return {{gate_up, expert * 2 * width, width, spec_.hidden},
            {gate_up, expert * 2 * width + width, width, spec_.hidden},
            {InLayer(layer, "mlp.experts.down_proj"), expert * spec_.hidden, spec_.hidden, width}};
  }
  const std::string prefix = InLayer(layer, absl::StrCat("block_sparse_moe.experts.", expert, "."));
  return {{prefix + "w1.weight", 0, width, spec_.hidden},
          {prefix + "w3.weight", 0, width, spec_.hidden},
          {prefix + "w2.weight", 0, spec_.hidden, width}};
}

ExpertSource TensorNames::Dense(int64_t layer) const {
  const int64_t width = Layer(layer).ffn.intermediate;
  return {{InLayer(layer, "mlp.gate_proj.weight"), 0, width, spec_.hidden},
          {InLayer(layer, "mlp.up_proj.weight"), 0, width, spec_.hidden},
          {InLayer(layer, "mlp.down_proj.weight"), 0, spec_.hidden, width}};
}

absl::Status TensorNames::ForEach(const Visitor& visit) const {
  RETURN_IF_ERROR(visit(kEmbedding, {spec_.vocabulary, spec_.hidden}));
  for (size_t layer = 0; layer < spec_.layers.size(); ++layer) {
    RETURN_IF_ERROR(ForEachInLayer(static_cast<int64_t>(layer), visit));
  }
  RETURN_IF_ERROR(visit(FinalNorm(), {spec_.hidden}));
  if (spec_.tied_embeddings) return absl::OkStatus();
  return visit(kHead, {spec_.vocabulary, spec_.hidden});
}

absl::Status TensorNames::ForEachInLayer(int64_t layer, const Visitor& visit) const {
  const auto visit_matrix = [&](const MatrixSource& source) {
    return visit(source.tensor, {source.rows, source.columns});
  };
  const auto visit_expert = [&](const ExpertSource& expert) {
    RETURN_IF_ERROR(visit_matrix(expert.gate));
    RETURN_IF_ERROR(visit_matrix(expert.up));
    return visit_matrix(expert.down);
  };
  RETURN_IF_ERROR(visit(AttentionNorm(layer), {spec_.hidden}));
  RETURN_IF_ERROR(visit(FfnNorm(layer), {spec_.hidden}));
  RETURN_IF_ERROR(visit_matrix(Query(layer)));
  RETURN_IF_ERROR(visit_matrix(Key(layer)));
  RETURN_IF_ERROR(visit_matrix(Value(layer)));
  RETURN_IF_ERROR(visit_matrix(AttentionOutput(layer)));
  const FfnSpec& ffn = Layer(layer).ffn;
  if (!ffn.router) return visit_expert(Dense(layer));

  RETURN_IF_ERROR(visit_matrix(Router(layer)));
  if (layout_ == ExpertLayout::kFused) {
    const ExpertSource first = Expert(layer, 0);
    RETURN_IF_ERROR(
        visit(first.gate.tensor, {ffn.router->experts, 2 * ffn.intermediate, spec_.hidden}));
    return visit(first.down.tensor, {ffn.router->experts, spec_.hidden, ffn.intermediate});
  }
  for (int64_t expert = 0; expert < ffn.router->experts; ++expert) {
    RETURN_IF_ERROR(visit_expert(Expert(layer, expert)));
  }
  return absl::OkStatus();
}

bool TensorNames::Ignored(std::string_view name) const {
  // Old exports stored the rope frequencies; tied ones sometimes store the head as well.
  return name.ends_with(".rotary_emb.inv_freq") || (spec_.tied_embeddings && name == kHead);
}

}  // namespace switchyard::model
