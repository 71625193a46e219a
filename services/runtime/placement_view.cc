#include "services/runtime/placement_view.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard::runtime {
namespace {

constexpr uint32_t kMaxLayers = 65'536;  // bounds what a broken message makes us allocate

absl::Status Broken(const v1::LayerPlacement& layer, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("placement of layer ", layer.layer(), ": ", what));
}

absl::Status CheckLayer(const v1::LayerPlacement& layer, int hosts) {
  if (layer.layer() >= kMaxLayers) return Broken(layer, "layer number out of range");
  if (layer.offsets().empty() || layer.offsets(0) != 0) {
    return Broken(layer, "offsets do not start at 0");
  }
  for (int i = 1; i < layer.offsets_size(); ++i) {
    if (layer.offsets(i) < layer.offsets(i - 1)) return Broken(layer, "offsets go down");
  }
  if (layer.offsets(layer.offsets_size() - 1) != static_cast<uint32_t>(layer.hosts_size())) {
    return Broken(layer, "the last offset is not the number of owners");
  }
  for (const uint32_t host : layer.hosts()) {
    if (host >= static_cast<uint32_t>(hosts))
      return Broken(layer, "an owner is not among the hosts");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const PlacementView>> PlacementView::Parse(v1::Placement placement) {
  std::shared_ptr<PlacementView> view(new PlacementView(std::move(placement)));
  const v1::Placement& source = view->placement_;
  for (int i = 0; i < source.layers_size(); ++i) {
    const v1::LayerPlacement& layer = source.layers(i);
    if (absl::Status status = CheckLayer(layer, source.hosts_size()); !status.ok()) return status;
    if (layer.layer() >= view->layer_index_.size()) {
      view->layer_index_.resize(layer.layer() + 1, kNoLayer);
    }
    if (view->layer_index_[layer.layer()] != kNoLayer) return Broken(layer, "stands there twice");
    view->layer_index_[layer.layer()] = static_cast<uint32_t>(i);
    for (int expert = 0; expert + 1 < layer.offsets_size(); ++expert) {
      if (layer.offsets(expert) == layer.offsets(expert + 1)) view->complete_ = false;
    }
  }
  return view;
}

std::span<const uint32_t> PlacementView::Owners(uint32_t layer, uint32_t expert) const {
  if (expert >= ExpertCount(layer)) return {};
  const v1::LayerPlacement& owners = placement_.layers(static_cast<int>(layer_index_[layer]));
  const uint32_t begin = owners.offsets(static_cast<int>(expert));
  const uint32_t end = owners.offsets(static_cast<int>(expert) + 1);
  return std::span<const uint32_t>(owners.hosts().data() + begin, end - begin);
}

uint32_t PlacementView::ExpertCount(uint32_t layer) const {
  if (layer >= layer_index_.size() || layer_index_[layer] == kNoLayer) return 0;
  return static_cast<uint32_t>(
             placement_.layers(static_cast<int>(layer_index_[layer])).offsets_size()) -
         1;
}

std::optional<uint32_t> PlacementView::HostIndex(uint64_t member_id) const {
  for (int i = 0; i < hosts().size(); ++i) {
    if (hosts().Get(i).id() == member_id) return static_cast<uint32_t>(i);
  }
  return std::nullopt;
}

}  // namespace switchyard::runtime
