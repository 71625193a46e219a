// The bytes are a config.json. Whatever they are, the parser answers with an error that says
// something, or with a model whose sizes fit one another and are small enough to compute with.

#include <cmath>
#include <cstdint>
#include <string>

#include "services/base/check.h"
#include "services/model/config_json.h"
#include "services/model/engine_supports.h"
#include "services/plan/parameters.h"

namespace switchyard::model {
namespace {

constexpr size_t kMostLayers = 4096;
constexpr int64_t kMostExperts = 1 << 14;

void CheckAttention(const AttentionSpec& attention) {
  CHECK(attention.heads > 0 && attention.kv_heads > 0) << attention.heads;
  CHECK(attention.heads % attention.kv_heads == 0) << attention.kv_heads;
  CHECK(attention.head_dim > 0 && attention.value_dim > 0) << attention.head_dim;
  CHECK(std::isfinite(attention.scale) && attention.scale > 0) << attention.scale;
  CHECK(attention.sliding_window >= 0) << attention.sliding_window;
  if (attention.kind != AttentionKind::kMla) return;
  CHECK(attention.mla.kv_lora_rank > 0 && attention.mla.rope_dim % 2 == 0);
  CHECK(attention.head_dim == attention.mla.nope_dim + attention.mla.rope_dim);
}

void CheckRouter(const RouterSpec& router) {
  CHECK(router.experts > 0 && router.experts < kMostExperts) << router.experts;
  CHECK(router.top_k > 0 && router.top_k <= router.experts) << router.top_k;
  CHECK(router.groups > 0 && router.experts % router.groups == 0) << router.groups;
  CHECK(router.kept_groups > 0 && router.kept_groups <= router.groups) << router.kept_groups;
  CHECK(std::isfinite(router.scale)) << router.scale;
}

void CheckSpec(const ModelSpec& spec) {
  CHECK(spec.hidden > 0 && spec.vocabulary > 0 && spec.max_positions > 0) << spec.hidden;
  CHECK(!spec.layers.empty() && spec.layers.size() + spec.encoder_layers.size() < kMostLayers);
  for (int64_t block = 0; block < spec.Blocks(); ++block) {
    const LayerSpec& layer = spec.Block(block);
    CheckAttention(layer.attention);
    CHECK(layer.ffn.intermediate > 0) << block;
    if (layer.ffn.router) CheckRouter(*layer.ffn.router);
    if (layer.ffn.shared) CHECK(layer.ffn.shared->intermediate > 0) << block;
  }
  if (spec.positions == PositionKind::kRope) {
    CHECK(spec.rope.rotary_dim > 0 && spec.rope.rotary_dim % 2 == 0) << spec.rope.rotary_dim;
    CHECK(std::isfinite(spec.rope.theta) && spec.rope.theta > 0) << spec.rope.theta;
  }
  for (const int64_t token : spec.eos_tokens) CHECK(token >= 0 && token < spec.vocabulary);
  // Neither may crash; both may refuse.
  const absl::Status supported = EngineSupports(spec);
  CHECK(supported.ok() || !supported.message().empty());
  const auto parameters = plan::CountParameters(spec);
  if (!parameters.ok()) return;
  CHECK(parameters->active() > 0 && parameters->active() <= parameters->total());
  CHECK(parameters->total() <= parameters->stored());
}

}  // namespace
}  // namespace switchyard::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto spec = switchyard::model::ParseConfig(text, "input");
  if (spec.ok()) {
    switchyard::model::CheckSpec(*spec);
  } else {
    CHECK(std::string(spec.status().message()).starts_with("input")) << spec.status();
  }
  return 0;
}
