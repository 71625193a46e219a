#include "router_service/layer_in_flight.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace switchyard::router {

void LayerInFlight::Start(const DispatchRequest& request, TimePoint deadline, uint64_t batch,
                          uint64_t epoch, uint32_t top_k, size_t row_bytes) {
  request_ = request;
  deadline_ = deadline;
  active_ = true;
  failure_ = absl::OkStatus();
  batch_ = batch;
  epoch_ = epoch;
  top_k_ = top_k;
  row_bytes_ = row_bytes;
  attempt_ = 0;
  overdue_resends_ = 0;
  next_part_ = 0;
  const auto assignments = static_cast<size_t>(request.rows) * top_k;
  rows_.Reserve(assignments * row_bytes);
  results_.assign(assignments, nullptr);
  sent_.clear();
  excluded_.clear();
  not_finite_.clear();
  pending_.clear();
  for (size_t index = 0; index < assignments; ++index) {
    if (request.experts[index] >= 0) pending_.push_back(static_cast<AssignmentIndex>(index));
  }
  remaining_ = pending_.size();
}

void LayerInFlight::Finish(absl::Status status) {
  failure_ = std::move(status);
  active_ = false;
  pending_.clear();
  sent_.clear();
}

void LayerInFlight::SetSent(uint64_t member, uint32_t part, TimePoint resend_at,
                            std::span<const AssignmentIndex> assignments) {
  sent_.push_back({member, attempt_, part, resend_at, false,
                   std::vector<AssignmentIndex>(assignments.begin(), assignments.end())});
  std::erase_if(pending_, [&](AssignmentIndex index) {
    return std::binary_search(assignments.begin(), assignments.end(), index);
  });
}

std::vector<LayerInFlight::SentFrame>::iterator LayerInFlight::FindSent(uint64_t member,
                                                                        uint32_t attempt,
                                                                        uint32_t part) {
  return std::find_if(sent_.begin(), sent_.end(), [&](const SentFrame& frame) {
    return frame.member == member && frame.attempt == attempt && frame.part == part;
  });
}

bool LayerInFlight::TakeRows(uint64_t member, uint32_t attempt, uint32_t part,
                             std::span<const std::byte> payload) {
  const auto frame = FindSent(member, attempt, part);
  if (frame == sent_.end() || payload.size() != frame->assignments.size() * row_bytes_) {
    return false;
  }
  for (size_t i = 0; i < frame->assignments.size(); ++i) {
    const AssignmentIndex index = frame->assignments[i];
    if (!Missing(index)) continue;  // another attempt was faster
    std::byte* row = rows_.As<std::byte>() + index * row_bytes_;
    std::memcpy(row, payload.data() + i * row_bytes_, row_bytes_);
    results_[index] = row;
    --remaining_;
  }
  // A superseded frame may answer what waits to be sent again.
  if (frame->superseded) {
    std::erase_if(pending_, [&](AssignmentIndex index) { return !Missing(index); });
  }
  sent_.erase(frame);
  return true;
}

bool LayerInFlight::TakeRefusal(uint64_t member, uint32_t attempt, uint32_t part) {
  const auto frame = FindSent(member, attempt, part);
  if (frame == sent_.end()) return false;
  const uint64_t moved = frame->superseded ? 0 : MakePending(*frame);
  sent_.erase(frame);
  NextAttempt(moved);
  return true;
}

bool LayerInFlight::TakeNotFinite(uint64_t member, uint32_t attempt, uint32_t part) {
  const auto frame = FindSent(member, attempt, part);
  if (frame == sent_.end()) return false;
  uint64_t moved = 0;
  if (!frame->superseded) {
    for (const AssignmentIndex index : frame->assignments) {
      if (!Missing(index)) continue;
      const auto [entry, first] = not_finite_.try_emplace(index, NotFinite{.member = member});
      if (first) continue;
      entry->second.given_up = true;
      --remaining_;
    }
    moved = MakePending(*frame);
  }
  sent_.erase(frame);
  NextAttempt(moved);
  return true;
}

uint64_t LayerInFlight::LoseMember(uint64_t member) {
  uint64_t moved = 0;
  for (const SentFrame& frame : sent_) {
    if (frame.member == member && !frame.superseded) moved += MakePending(frame);
  }
  std::erase_if(sent_, [&](const SentFrame& frame) { return frame.member == member; });
  NextAttempt(moved);
  return moved;
}

uint64_t LayerInFlight::LoseAll() {
  uint64_t moved = 0;
  for (const SentFrame& frame : sent_) {
    if (!frame.superseded) moved += MakePending(frame);
  }
  sent_.clear();
  NextAttempt(moved);
  return moved;
}

uint64_t LayerInFlight::ResendOverdue(TimePoint now, std::set<uint64_t>& late) {
  uint64_t moved = 0;
  for (SentFrame& frame : sent_) {
    if (frame.superseded || now < frame.resend_at) continue;
    frame.superseded = true;
    late.insert(frame.member);
    moved += MakePending(frame);
  }
  if (moved > 0) ++overdue_resends_;
  NextAttempt(moved);
  return moved;
}

bool LayerInFlight::Missing(AssignmentIndex index) const {
  if (results_[index] != nullptr) return false;
  const auto found = not_finite_.find(index);
  return found == not_finite_.end() || !found->second.given_up;
}

uint64_t LayerInFlight::MakePending(const SentFrame& frame) {
  const size_t before = pending_.size();
  for (const AssignmentIndex index : frame.assignments) {
    if (Missing(index)) pending_.push_back(index);
  }
  return pending_.size() - before;
}

void LayerInFlight::NextAttempt(uint64_t moved) {
  if (moved == 0) return;
  std::sort(pending_.begin(), pending_.end());
  ++attempt_;
}

bool LayerInFlight::Awaits(uint64_t member) const {
  return std::any_of(sent_.begin(), sent_.end(),
                     [member](const SentFrame& frame) { return frame.member == member; });
}

uint64_t LayerInFlight::AnyOutstandingMember() const {
  return sent_.empty() ? 0 : sent_.front().member;
}

}  // namespace switchyard::router
