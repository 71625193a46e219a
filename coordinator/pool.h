#pragma once

// What every member of the pool must agree on, and who may join.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/coordinator.pb.h"
#include "services/placement/placement.h"

namespace switchyard::coordinator {

using placement::Item;
using LayerList = google::protobuf::RepeatedPtrField<v1::LayerExperts>;

// The experts of a model, numbered without holes. Immutable.
class ModelShape {
 public:
  ModelShape() = default;

  // INVALID_ARGUMENT when the numbers of a registration are out of range.
  static absl::StatusOr<ModelShape> Parse(const v1::RegisterRequest& request);

  uint32_t experts_per_layer() const { return experts_per_layer_; }
  const std::vector<uint32_t>& layers() const { return layers_; }  // ids of MoE layers, ascending
  uint32_t items() const { return static_cast<uint32_t>(layers_.size()) * experts_per_layer_; }
  uint32_t layer(Item item) const { return layers_[item / experts_per_layer_]; }
  uint32_t expert(Item item) const { return item % experts_per_layer_; }

  // nullopt for a layer that is no MoE layer.
  std::optional<Item> FirstItem(uint32_t layer) const;

  // One flag per item. INVALID_ARGUMENT names a layer or expert that the model does not have.
  absl::StatusOr<std::vector<bool>> ToSet(const LayerList& experts) const;
  LayerList ToProto(const std::vector<Item>& items) const;  // items ascending

  // "layer 3, expert 7"
  std::string Describe(Item item) const;

  bool operator==(const ModelShape&) const = default;

 private:
  std::vector<uint32_t> layers_;
  uint32_t experts_per_layer_ = 0;
};

// The model, class and version that are fixed when the first member joins.
class Pool {
 public:
  // Empty version and unspecified class: the first member's.
  Pool(std::string software_version, v1::Numerics numerics);

  // Fixes what is still open. FAILED_PRECONDITION says what differs and what would be admitted.
  absl::Status Admit(const v1::RegisterRequest& request);

  const v1::ModelIdentity& model() const { return model_; }  // numerics set after the first Admit
  const ModelShape& shape() const { return shape_; }

 private:
  absl::Status CheckClass(const v1::RegisterRequest& request, v1::Numerics wanted) const;

  std::string software_version_;
  bool fixed_ = false;
  v1::ModelIdentity model_;
  ModelShape shape_;
};

}  // namespace switchyard::coordinator
