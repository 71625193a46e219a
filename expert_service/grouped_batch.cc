#include "expert_service/grouped_batch.h"

#include <algorithm>
#include <utility>

#include "services/transport/frame.h"

namespace switchyard::expert {

std::span<const size_t> GroupedBatch::Build(std::span<const WaitingDispatch> dispatches,
                                            std::shared_ptr<const Experts> experts,
                                            kernels::DType wire_type) {
  experts_ = std::move(experts);
  wire_type_ = wire_type;
  entries_.clear();
  rows_.clear();
  groups_.clear();
  loads_.clear();
  refused_.clear();
  for (size_t index = 0; index < dispatches.size(); ++index) {
    if (Owns(dispatches[index])) {
      Append(dispatches[index]);
    } else {
      refused_.push_back(index);
    }
  }
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.id < b.id; });
  for (const Entry& entry : entries_) {
    const auto position = static_cast<int64_t>(rows_.size());
    if (loads_.empty() || loads_.back().id != entry.id) {
      groups_.push_back({experts_->at(entry.id).get(), position, position});
      loads_.push_back({entry.id, 0});
    }
    rows_.push_back(entry.row);
    groups_.back().end = position + 1;
    ++loads_.back().rows;
  }
  return refused_;
}

bool GroupedBatch::Owns(const WaitingDispatch& dispatch) const {
  const auto metadata = dispatch.frame->metadata();
  for (size_t i = 0; i < dispatch.assignments; ++i) {
    const auto assignment = transport::DecodeAssignment(metadata, i);
    if (!experts_->contains({dispatch.frame->header().layer, assignment.expert})) return false;
  }
  return true;
}

void GroupedBatch::Append(const WaitingDispatch& dispatch) {
  const transport::FrameHeader& header = dispatch.frame->header();
  const auto metadata = dispatch.frame->metadata();
  const std::byte* input = dispatch.frame->payload().data();
  std::byte* output = dispatch.reply->payload().data();
  for (size_t i = 0; i < dispatch.assignments; ++i) {
    const auto assignment = transport::DecodeAssignment(metadata, i);
    entries_.push_back({{header.layer, assignment.expert},
                        {input + size_t{assignment.row} * header.row_bytes,
                         output + i * header.row_bytes, assignment.weight}});
  }
}

}  // namespace switchyard::expert
