#include "coordinator/pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"

namespace switchyard::coordinator {
namespace {

// Above any model, and low enough for what is kept per expert and host.
constexpr int kMaxLayers = 4'096;
constexpr uint32_t kMaxExpertsPerLayer = 65'536;
constexpr uint64_t kMaxItems = 1 << 20;

std::string ClassName(int numerics) {
  switch (numerics) {
    case v1::NUMERICS_FP32:
      return "fp32";
    case v1::NUMERICS_BF16:
      return "bf16";
    case v1::NUMERICS_BF16_AMX:
      return "bf16-amx";
    case v1::NUMERICS_BF16_SM90:
      return "bf16-sm90";
  }
  return absl::StrCat("class ", numerics);
}

}  // namespace

absl::StatusOr<ModelShape> ModelShape::Parse(const v1::RegisterRequest& request) {
  if (request.moe_layers_size() > kMaxLayers || request.experts_per_layer() > kMaxExpertsPerLayer ||
      uint64_t{request.experts_per_layer()} * request.moe_layers_size() > kMaxItems) {
    return absl::InvalidArgumentError(absl::StrCat(request.moe_layers_size(), " MoE layers of ",
                                                   request.experts_per_layer(),
                                                   " experts are more than a pool can have"));
  }
  ModelShape shape;
  shape.layers_.assign(request.moe_layers().begin(), request.moe_layers().end());
  shape.experts_per_layer_ = shape.layers_.empty() ? 0 : request.experts_per_layer();
  const auto disorder = std::adjacent_find(shape.layers_.begin(), shape.layers_.end(),
                                           [](uint32_t a, uint32_t b) { return a >= b; });
  if (disorder != shape.layers_.end()) {
    return absl::InvalidArgumentError("moe_layers are not in ascending order");
  }
  if (!shape.layers_.empty() && shape.experts_per_layer_ == 0) {
    return absl::InvalidArgumentError("moe_layers without experts_per_layer");
  }
  return shape;
}

std::optional<Item> ModelShape::FirstItem(uint32_t layer) const {
  const auto at = std::lower_bound(layers_.begin(), layers_.end(), layer);
  if (at == layers_.end() || *at != layer) return std::nullopt;
  return static_cast<Item>(at - layers_.begin()) * experts_per_layer_;
}

absl::StatusOr<std::vector<bool>> ModelShape::ToSet(const LayerList& experts) const {
  std::vector<bool> set(items());
  for (const v1::LayerExperts& layer : experts) {
    const std::optional<Item> first = FirstItem(layer.layer());
    for (const uint32_t expert : layer.experts()) {
      if (!first || expert >= experts_per_layer_) {
        return absl::InvalidArgumentError(
            absl::StrCat("the model has no layer ", layer.layer(), ", expert ", expert));
      }
      set[*first + expert] = true;
    }
  }
  return set;
}

LayerList ModelShape::ToProto(const std::vector<Item>& items) const {
  LayerList list;
  for (const Item item : items) {
    if (list.empty() || list.rbegin()->layer() != layer(item)) list.Add()->set_layer(layer(item));
    list.rbegin()->add_experts(expert(item));
  }
  return list;
}

std::string ModelShape::Describe(Item item) const {
  return absl::StrCat("layer ", layer(item), ", expert ", expert(item));
}

Pool::Pool(std::string software_version, v1::Numerics numerics)
    : software_version_(std::move(software_version)) {
  model_.set_numerics(numerics);
  model_.set_weights_version(1);
}

absl::Status Pool::CheckClass(const v1::RegisterRequest& request, v1::Numerics wanted) const {
  const auto& offered = request.offered();
  if (std::find(offered.begin(), offered.end(), wanted) != offered.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(request.member().name(), " offers ",
                   offered.empty() ? "no numerics class"
                                   : absl::StrJoin(offered, ", ",
                                                   [](std::string* text, int numerics) {
                                                     absl::StrAppend(text, ClassName(numerics));
                                                   }),
                   ", but this pool runs class ", ClassName(wanted), ": only members that offer ",
                   ClassName(wanted), " are admitted",
                   wanted == v1::NUMERICS_BF16_SM90 ? " (members with --device cuda:N)" : ""));
}

absl::Status Pool::Admit(const v1::RegisterRequest& request) {
  const std::string& name = request.member().name();
  if ((fixed_ || !software_version_.empty()) && request.software_version() != software_version_) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, " runs version '", request.software_version(),
                     "', but this pool runs version '", software_version_, "'"));
  }
  ASSIGN_OR_RETURN(ModelShape shape, ModelShape::Parse(request));
  v1::Numerics numerics = model_.numerics();
  if (numerics == v1::NUMERICS_UNSPECIFIED) {
    if (request.offered().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(name, " offers no numerics class"));
    }
    numerics = static_cast<v1::Numerics>(request.offered(0));
  }
  RETURN_IF_ERROR(CheckClass(request, numerics));
  if (!fixed_) {
    fixed_ = true;
    software_version_ = request.software_version();
    shape_ = std::move(shape);
    model_.set_digest(request.model_digest());
    model_.set_numerics(numerics);
    return absl::OkStatus();
  }
  if (request.model_digest() != model_.digest()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s has model %016x, but this pool runs model %016x: give it the same checkpoint", name,
        request.model_digest(), model_.digest()));
  }
  if (shape != shape_) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has the pool's model, but counts its layers and experts otherwise"));
  }
  return absl::OkStatus();
}

}  // namespace switchyard::coordinator
