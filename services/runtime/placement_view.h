#pragma once

// One epoch of the cluster as the data path asks for it: who owns expert e of layer l. Immutable,
// so any number of threads may share one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"

namespace switchyard::runtime {

class PlacementView {
 public:
  using Members = google::protobuf::RepeatedPtrField<v1::Member>;

  // INVALID_ARGUMENT when offsets or host indexes do not fit together, naming the layer.
  static absl::StatusOr<std::shared_ptr<const PlacementView>> Parse(v1::Placement placement);

  uint64_t epoch() const { return placement_.epoch(); }
  const v1::ModelIdentity& model() const { return placement_.model(); }
  const Members& hosts() const { return placement_.hosts(); }
  const Members& router_workers() const { return placement_.router_workers(); }
  const v1::Placement& placement() const { return placement_; }

  // Indexes into hosts() of the expert's owners; empty when it has none, or there is no such
  // expert.
  std::span<const uint32_t> Owners(uint32_t layer, uint32_t expert) const;

  // Experts of an MoE layer; 0 for any other layer.
  uint32_t ExpertCount(uint32_t layer) const;

  // Index into hosts() of a member; nullopt when it is not among them.
  std::optional<uint32_t> HostIndex(uint64_t member_id) const;

  // Every expert of every layer has an owner.
  bool complete() const { return complete_; }

 private:
  static constexpr uint32_t kNoLayer = UINT32_MAX;

  explicit PlacementView(v1::Placement placement) : placement_(std::move(placement)) {}

  v1::Placement placement_;
  std::vector<uint32_t> layer_index_;  // layer -> index into placement_.layers(), or kNoLayer
  bool complete_ = true;
};

}  // namespace switchyard::runtime
