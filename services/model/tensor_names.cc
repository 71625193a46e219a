#include "services/model/tensor_names.h"

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/model/families/families.h"

namespace switchyard::model {
namespace {

// What transformers 5 calls the experts of a layer in memory; gpt-oss on disk, too.
constexpr char kGateUp[] = "mlp.experts.gate_up_proj";
constexpr char kDown[] = "mlp.experts.down_proj";

std::string Join(std::string_view a, std::string_view b) {
  return absl::StrCat(std::string(a), std::string(b));
}

const FamilyNames& NamesOf(const ModelSpec& spec) {
  const Family* family = FindFamily(spec.family);
  CHECK(family != nullptr) << "family " << spec.family;
  return family->names;
}

}  // namespace

absl::Status VisitTensors(const TensorVisitor& visit, const MatrixSource& source) {
  if (source.tensor.empty()) return absl::OkStatus();
  return visit(source.tensor, {source.rows, source.columns});
}

absl::Status VisitTensors(const TensorVisitor& visit, const VectorSource& source) {
  if (source.tensor.empty()) return absl::OkStatus();
  return visit(source.tensor, {source.elements});
}

absl::Status VisitTensors(const TensorVisitor& visit, const NormSource& source) {
  RETURN_IF_ERROR(VisitTensors(visit, source.weight));
  return VisitTensors(visit, source.bias);
}

absl::Status VisitTensors(const TensorVisitor& visit, const ExpertSource& source) {
  for (const MatrixSource* matrix : {&source.gate, &source.up, &source.down}) {
    RETURN_IF_ERROR(VisitTensors(visit, *matrix));
  }
  for (const VectorSource* bias : {&source.gate_bias, &source.up_bias, &source.down_bias}) {
    RETURN_IF_ERROR(VisitTensors(visit, *bias));
  }
  return absl::OkStatus();
}

absl::Status VisitTensors(const TensorVisitor& visit, const AttentionSource& source) {
  const MlaSource& mla = source.mla;
  for (const MatrixSource* matrix :
       {&source.query, &source.key, &source.value, &source.output, &source.relative_bias,
        &mla.query_down, &mla.query_up, &mla.latent, &mla.latent_up}) {
    RETURN_IF_ERROR(VisitTensors(visit, *matrix));
  }
  for (const VectorSource* vector :
       {&source.query_bias, &source.key_bias, &source.value_bias, &source.output_bias,
        &source.query_norm, &source.key_norm, &source.sinks, &mla.query_down_bias, &mla.query_norm,
        &mla.latent_bias, &mla.latent_norm}) {
    RETURN_IF_ERROR(VisitTensors(visit, *vector));
  }
  return absl::OkStatus();
}

std::string TensorNames::Place::Weight(std::string_view module) const {
  return absl::StrCat(prefix, std::string(module), ".weight");
}

std::string TensorNames::Place::Tensor(std::string_view name) const { return Join(prefix, name); }

ExpertLayout TensorNames::LayoutOf(const ModelSpec& spec,
                                   const std::function<bool(const std::string&)>& has) {
  const FamilyNames& names = NamesOf(spec);
  if (names.alternating_experts) {
    return spec.quantization == Quantization::kMxfp4 ? ExpertLayout::kAlternatingRows
                                                     : ExpertLayout::kAlternatingColumns;
  }
  const std::vector<int64_t> layers = spec.MoeLayers();
  if (layers.empty()) return ExpertLayout::kSeparate;
  const std::string marker =
      absl::StrCat(std::string(names.layer.prefix), layers.front(), ".", kGateUp);
  return has(marker) ? ExpertLayout::kFused : ExpertLayout::kSeparate;
}

TensorNames::TensorNames(const ModelSpec& spec, ExpertLayout layout)
    : spec_(spec), layout_(layout), names_(NamesOf(spec)) {}

TensorNames::Place TensorNames::At(int64_t layer) const {
  const auto decoder = static_cast<int64_t>(spec_.layers.size());
  const bool encoder = layer >= decoder && !spec_.mtp;
  const LayerNames& names = encoder ? names_.encoder_layer : names_.layer;
  return {spec_.Block(layer), names,
          absl::StrCat(std::string(names.prefix), encoder ? layer - decoder : layer, ".")};
}

NormSource TensorNames::Norm(const std::string& module) const {
  NormSource norm;
  norm.weight = {module + ".weight", spec_.hidden};
  if (spec_.norm == NormKind::kLayer) norm.bias = {module + ".bias", spec_.hidden};
  return norm;
}

MatrixSource TensorNames::Embedding() const {
  const std::string_view name =
      spec_.stack_embeddings ? names_.decoder_embedding : names_.embedding;
  return {Join(name, ".weight"), 0, spec_.vocabulary, spec_.hidden};
}

MatrixSource TensorNames::EncoderEmbedding() const {
  if (!spec_.stack_embeddings) return {};
  return {Join(names_.encoder_embedding, ".weight"), 0, spec_.vocabulary, spec_.hidden};
}

bool TensorNames::HasStackEmbeddings(const ModelSpec& spec,
                                     const std::function<bool(const std::string&)>& has) {
  const FamilyNames& names = NamesOf(spec);
  return !spec.tied_embeddings && !spec.encoder_layers.empty() &&
         has(Join(names.encoder_embedding, ".weight")) &&
         has(Join(names.decoder_embedding, ".weight"));
}

MatrixSource TensorNames::Positions() const {
  if (spec_.positions != PositionKind::kLearned) return {};
  return {Join(names_.positions, ".weight"), 0, spec_.max_positions, spec_.hidden};
}

MatrixSource TensorNames::Head() const {
  if (spec_.tied_embeddings) return Embedding();
  return {Join(names_.head, ".weight"), 0, spec_.vocabulary, spec_.hidden};
}

VectorSource TensorNames::HeadBias() const {
  if (!spec_.head_bias) return {};
  return {Join(names_.head, ".bias"), spec_.vocabulary};
}

NormSource TensorNames::FinalNorm() const { return Norm(std::string(names_.final_norm)); }

NormSource TensorNames::EncoderFinalNorm() const {
  if (spec_.encoder_layers.empty()) return {};
  return Norm(std::string(names_.encoder_final_norm));
}

AttentionSource TensorNames::Attention(const Place& place, const AttentionSpec& spec,
                                       const AttentionNames& names) const {
  AttentionSource source;
  const int64_t query = spec.heads * spec.head_dim;
  const int64_t key = spec.kv_heads * spec.head_dim;
  const int64_t value = spec.kv_heads * spec.value_dim;
  source.norm = Norm(place.Tensor(names.norm));
  source.output = {place.Weight(names.output), 0, spec_.hidden, spec.heads * spec.value_dim};
  if (spec.output_bias) {
    source.output_bias = {place.Tensor(Join(names.output, ".bias")), spec_.hidden};
  }
  if (spec.kind == AttentionKind::kMla) {
    SetMla(place, spec, source);
    return source;
  }
  source.query = {place.Weight(names.query), 0, query, spec_.hidden};
  source.key = {place.Weight(names.key), 0, key, spec_.hidden};
  source.value = {place.Weight(names.value), 0, value, spec_.hidden};
  if (spec.qkv_bias) {
    source.query_bias = {place.Tensor(Join(names.query, ".bias")), query};
    source.key_bias = {place.Tensor(Join(names.key, ".bias")), key};
    source.value_bias = {place.Tensor(Join(names.value, ".bias")), value};
  }
  if (spec.qk_norm != QkNorm::kNone) {
    const bool per_head = spec.qk_norm == QkNorm::kPerHead;
    source.query_norm = {place.Weight(names.query_norm), per_head ? spec.head_dim : query};
    source.key_norm = {place.Weight(names.key_norm), per_head ? spec.head_dim : key};
  }
  if (spec.sinks) source.sinks = {place.Tensor(names.sinks), spec.heads};
  if (spec.relative && spec.relative->own_table) {
    source.relative_bias = {place.Weight(names.relative_bias), 0, spec.relative->buckets,
                            spec.heads};
  }
  return source;
}

void TensorNames::SetMla(const Place& place, const AttentionSpec& spec,
                         AttentionSource& source) const {
  const MlaSpec& mla = spec.mla;
  const int64_t query = spec.heads * spec.head_dim;
  MlaSource& target = source.mla;
  if (mla.q_lora_rank > 0) {
    target.query_down = {place.Weight("self_attn.q_a_proj"), 0, mla.q_lora_rank, spec_.hidden};
    target.query_norm = {place.Weight("self_attn.q_a_layernorm"), mla.q_lora_rank};
    target.query_up = {place.Weight("self_attn.q_b_proj"), 0, query, mla.q_lora_rank};
  } else {
    source.query = {place.Weight("self_attn.q_proj"), 0, query, spec_.hidden};
  }
  target.latent = {place.Weight("self_attn.kv_a_proj_with_mqa"), 0, mla.cache_width(),
                   spec_.hidden};
  target.latent_norm = {place.Weight("self_attn.kv_a_layernorm"), mla.kv_lora_rank};
  if (spec.qkv_bias) {
    if (mla.q_lora_rank > 0) {
      target.query_down_bias = {place.Tensor("self_attn.q_a_proj.bias"), mla.q_lora_rank};
    }
    target.latent_bias = {place.Tensor("self_attn.kv_a_proj_with_mqa.bias"), mla.cache_width()};
  }
  target.latent_up = {place.Weight("self_attn.kv_b_proj"), 0,
                      spec.heads * (mla.nope_dim + spec.value_dim), mla.kv_lora_rank};
}

ExpertSource TensorNames::Network(const std::string& prefix, const FfnNames& names,
                                  const FfnSpec& ffn, int64_t width) const {
  ExpertSource source;
  const auto name = [&](std::string_view matrix, const char* tensor) {
    return absl::StrCat(prefix, std::string(matrix), tensor);
  };
  source.gate = {name(names.gate, ".weight"), 0, width, spec_.hidden};
  if (ffn.gated) source.up = {name(names.up, ".weight"), 0, width, spec_.hidden};
  source.down = {name(names.down, ".weight"), 0, spec_.hidden, width};
  if (!ffn.bias) return source;
  source.gate_bias = {name(names.gate, ".bias"), width};
  if (ffn.gated) source.up_bias = {name(names.up, ".bias"), width};
  source.down_bias = {name(names.down, ".bias"), spec_.hidden};
  return source;
}

LayerSource TensorNames::Layer(int64_t layer) const {
  const Place place = At(layer);
  const LayerNames& names = place.names;
  const FfnSpec& ffn = place.spec.ffn;
  LayerSource source;
  source.attention = Attention(place, place.spec.attention, names.attention);
  if (place.spec.cross_attention) {
    source.cross_attention = Attention(place, *place.spec.cross_attention, names.cross_attention);
  }
  source.ffn_norm = Norm(place.Tensor(names.ffn_norm));
  if (!ffn.router) {
    source.dense = Network(place.Tensor(names.dense), names.dense_ffn, ffn, ffn.intermediate);
    return source;
  }
  const std::string_view router =
      layout_ == ExpertLayout::kFused ? names_.fused_router : names.router;
  source.router = {place.Weight(router), 0, ffn.router->experts, spec_.hidden};
  if (ffn.router->bias) {
    source.router_bias = {place.Tensor(Join(router, ".bias")), ffn.router->experts};
  }
  if (ffn.router->correction_bias) {
    source.correction_bias = {place.Tensor(names.correction_bias), ffn.router->experts};
  }
  if (ffn.shared) {
    source.shared =
        Network(place.Tensor(names.shared), names.dense_ffn, ffn, ffn.shared->intermediate);
    if (ffn.shared->sigmoid_gate) {
      source.shared_gate = {place.Weight(names.shared_gate), 0, 1, spec_.hidden};
    }
  }
  return source;
}

ExpertSource TensorNames::Expert(int64_t layer, int64_t expert) const {
  const Place place = At(layer);
  const FfnSpec& ffn = place.spec.ffn;
  CHECK(ffn.router && expert >= 0 && expert < ffn.router->experts)
      << "layer " << layer << " expert " << expert;
  const int64_t width = ffn.intermediate;
  if (layout_ == ExpertLayout::kSeparate) {
    return Network(absl::StrCat(place.Tensor(place.names.experts), expert, "."),
                   place.names.expert_ffn, ffn, width);
  }
  if (layout_ != ExpertLayout::kFused) return AlternatingExpert(place, expert);
  // [experts, gate rows then up rows, hidden] and [experts, hidden, intermediate]
  const std::string gate_up = place.Tensor(kGateUp);
  ExpertSource source;
  source.gate = {gate_up, expert * 2 * width, width, spec_.hidden};
  source.up = {gate_up, expert * 2 * width + width, width, spec_.hidden};
  source.down = {place.Tensor(kDown), expert * spec_.hidden, spec_.hidden, width};
  return source;
}

// Gate and up are the even and odd outputs of one tensor.
ExpertSource TensorNames::AlternatingExpert(const Place& place, int64_t expert) const {
  const int64_t hidden = spec_.hidden;
  const int64_t width = place.spec.ffn.intermediate;
  const std::string gate_up = place.Tensor(kGateUp);
  const std::string down = place.Tensor(kDown);
  ExpertSource source;
  if (layout_ == ExpertLayout::kAlternatingColumns) {
    source.gate = {gate_up, expert * hidden, width, hidden, 2, true, 0};
    source.up = {gate_up, expert * hidden, width, hidden, 2, true, 1};
    source.down = {down, expert * width, hidden, width, 1, true, 0};
  } else {
    source.gate = {gate_up, expert * 2 * width, width, hidden, 2};
    source.up = {gate_up, expert * 2 * width + 1, width, hidden, 2};
    source.down = {down, expert * hidden, hidden, width};
  }
  source.gate_bias = {gate_up + "_bias", width, expert, 0, 2};
  source.up_bias = {gate_up + "_bias", width, expert, 1, 2};
  source.down_bias = {down + "_bias", hidden, expert};
  return source;
}

MtpSource TensorNames::Mtp() const {
  CHECK(spec_.mtp.has_value()) << spec_.family << " without an MTP block";
  const std::string prefix = MtpPrefix();
  MtpSource source;
  source.embedding_norm = {prefix + "enorm.weight", spec_.hidden};
  source.hidden_norm = {prefix + "hnorm.weight", spec_.hidden};
  source.final_norm = {prefix + "shared_head.norm.weight", spec_.hidden};
  source.combine = {prefix + "eh_proj.weight", 0, spec_.hidden, 2 * spec_.hidden};
  source.embedding = {prefix + "embed_tokens.weight", 0, spec_.vocabulary, spec_.hidden};
  source.head = {prefix + "shared_head.head.weight", 0, spec_.vocabulary, spec_.hidden};
  return source;
}

absl::Status TensorNames::ForEach(const TensorVisitor& visit) const {
  RETURN_IF_ERROR(VisitTensors(visit, Embedding()));
  RETURN_IF_ERROR(VisitTensors(visit, EncoderEmbedding()));
  RETURN_IF_ERROR(VisitTensors(visit, Positions()));
  for (int64_t layer = 0; layer < spec_.Blocks(); ++layer) {
    RETURN_IF_ERROR(ForEachInLayer(layer, visit));
  }
  if (spec_.mtp) {
    const MtpSource mtp = Mtp();
    for (const VectorSource* norm : {&mtp.embedding_norm, &mtp.hidden_norm, &mtp.final_norm}) {
      RETURN_IF_ERROR(VisitTensors(visit, *norm));
    }
    for (const MatrixSource* matrix : {&mtp.combine, &mtp.embedding, &mtp.head}) {
      RETURN_IF_ERROR(VisitTensors(visit, *matrix));
    }
  }
  if (!spec_.encoder_layers.empty()) RETURN_IF_ERROR(VisitTensors(visit, EncoderFinalNorm()));
  RETURN_IF_ERROR(VisitTensors(visit, FinalNorm()));
  RETURN_IF_ERROR(VisitTensors(visit, HeadBias()));
  return spec_.tied_embeddings ? absl::OkStatus() : VisitTensors(visit, Head());
}

absl::Status TensorNames::ForEachInLayer(int64_t layer, const TensorVisitor& visit) const {
  const LayerSource source = Layer(layer);
  RETURN_IF_ERROR(VisitTensors(visit, source.attention.norm));
  RETURN_IF_ERROR(VisitTensors(visit, source.ffn_norm));
  RETURN_IF_ERROR(VisitTensors(visit, source.attention));
  RETURN_IF_ERROR(VisitTensors(visit, source.cross_attention.norm));
  RETURN_IF_ERROR(VisitTensors(visit, source.cross_attention));
  RETURN_IF_ERROR(VisitTensors(visit, source.dense));
  RETURN_IF_ERROR(VisitTensors(visit, source.router));
  RETURN_IF_ERROR(VisitTensors(visit, source.router_bias));
  RETURN_IF_ERROR(VisitTensors(visit, source.correction_bias));
  RETURN_IF_ERROR(VisitTensors(visit, source.shared));
  RETURN_IF_ERROR(VisitTensors(visit, source.shared_gate));
  return spec_.Block(layer).ffn.router ? ForEachExpert(layer, visit) : absl::OkStatus();
}

absl::Status TensorNames::ForEachExpert(int64_t layer, const TensorVisitor& visit) const {
  const FfnSpec& ffn = spec_.Block(layer).ffn;
  const int64_t experts = ffn.router->experts;
  if (layout_ == ExpertLayout::kSeparate) {
    for (int64_t expert = 0; expert < experts; ++expert) {
      RETURN_IF_ERROR(VisitTensors(visit, Expert(layer, expert)));
    }
    return absl::OkStatus();
  }
  const ExpertSource first = Expert(layer, 0);
  const int64_t width = ffn.intermediate;
  const bool transposed = layout_ == ExpertLayout::kAlternatingColumns;
  const std::vector<int64_t> gate_up = {experts, 2 * width, spec_.hidden};
  const std::vector<int64_t> down = {experts, spec_.hidden, width};
  const auto stored = [&](const std::vector<int64_t>& shape) {
    return transposed ? std::vector<int64_t>{shape[0], shape[2], shape[1]} : shape;
  };
  RETURN_IF_ERROR(visit(first.gate.tensor, stored(gate_up)));
  RETURN_IF_ERROR(visit(first.down.tensor, stored(down)));
  if (!ffn.bias) return absl::OkStatus();
  RETURN_IF_ERROR(visit(first.gate_bias.tensor, {experts, 2 * width}));
  return visit(first.down_bias.tensor, {experts, spec_.hidden});
}

std::string TensorNames::MtpPrefix() const {
  if (!names_.mtp) return "";
  return absl::StrCat(std::string(names_.layer.prefix), spec_.layers.size(), ".");
}

bool TensorNames::Ignored(std::string_view name) const {
  // Old exports stored the rope frequencies.
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  // Tied models sometimes store the copies as well.
  if (spec_.tied_embeddings && name == Join(names_.head, ".weight")) return true;
  if (spec_.stack_embeddings && name == Join(names_.embedding, ".weight")) return true;
  if (!spec_.encoder_layers.empty() && (name == Join(names_.encoder_embedding, ".weight") ||
                                        name == Join(names_.decoder_embedding, ".weight"))) {
    return true;
  }
  // A config that does not want the MTP block: transformers skips it, too.
  return names_.mtp && !spec_.mtp && name.starts_with(MtpPrefix());
}

}  // namespace switchyard::model
