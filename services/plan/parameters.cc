#include "services/plan/parameters.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/model/tensor_names.h"

namespace switchyard::plan {
namespace {

constexpr double kMost = 9007199254740992.0;  // 2^53

template <typename... Sources>
int64_t Elements(const Sources&... sources) {
  int64_t sum = 0;
  const auto add = [&](const std::string&, const std::vector<int64_t>& shape) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    sum += elements;
    return absl::OkStatus();
  };
  for (const absl::Status& status : {model::VisitTensors(add, sources)...}) {
    CHECK(status.ok()) << status;
  }
  return sum;
}

LayerParameters CountLayer(const model::ModelSpec& spec, const model::TensorNames& names,
                           int64_t layer) {
  const model::LayerSource source = names.Layer(layer);
  LayerParameters count;
  count.attention = Elements(source.attention, source.cross_attention);
  count.norms = Elements(source.attention.norm, source.cross_attention.norm, source.ffn_norm);
  count.dense = Elements(source.dense);
  count.router = Elements(source.router, source.router_bias, source.correction_bias);
  count.shared = Elements(source.shared, source.shared_gate);
  if (const auto& router = spec.Block(layer).ffn.router) {
    count.expert = Elements(names.Expert(layer, 0));
    count.experts = router->experts;
    count.top_k = router->top_k;
  }
  return count;
}

MtpParameters CountMtp(const model::ModelSpec& spec, const model::TensorNames& names) {
  const model::MtpSource source = names.Mtp();
  return {.layer = CountLayer(spec, names, static_cast<int64_t>(spec.layers.size())),
          .rest = Elements(source.embedding_norm, source.hidden_norm, source.final_norm,
                           source.combine),
          .copies = Elements(source.embedding, source.head)};
}

}  // namespace

int64_t ModelParameters::total() const {
  int64_t sum = embedding + positions + head + final_norms;
  for (const LayerParameters& layer : layers) sum += layer.total();
  return sum;
}

int64_t ModelParameters::routed_experts() const {
  int64_t sum = 0;
  for (const LayerParameters& layer : layers) sum += layer.experts * layer.expert;
  return sum;
}

int64_t ModelParameters::active() const {
  int64_t sum = embedding + positions + head + final_norms;
  for (const LayerParameters& layer : layers) sum += layer.active();
  return sum;
}

int64_t ModelParameters::active_without_embedding() const {
  return active() - positions - (tied ? 0 : embedding);
}

absl::StatusOr<ModelParameters> CountParameters(const model::ModelSpec& spec) {
  // Counts do not depend on how the experts are laid out.
  const model::TensorNames names(spec, model::ExpertLayout::kSeparate);
  ModelParameters count;
  count.tied = spec.tied_embeddings;
  count.embedding = Elements(names.Embedding());
  count.positions = Elements(names.Positions());
  count.head = Elements(names.HeadBias()) + (spec.tied_embeddings ? 0 : Elements(names.Head()));
  count.final_norms = Elements(names.FinalNorm(), names.EncoderFinalNorm());
  if (spec.mtp) count.mtp = CountMtp(spec, names);
  double sum = 0;
  for (int64_t block = 0; block < spec.Blocks(); ++block) {
    const auto decoder = static_cast<int64_t>(spec.layers.size());
    if (spec.mtp && block == decoder) continue;
    count.layers.push_back(CountLayer(spec, names, block));
    sum += static_cast<double>(count.layers.back().total());
  }
  if (sum > kMost) {
    return absl::InvalidArgumentError(absl::StrCat("config.json describes about ", sum,
                                                   " parameters, more than any model has (2^53)"));
  }
  return count;
}

}  // namespace switchyard::plan
