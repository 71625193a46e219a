#pragma once

// Bookkeeping of one micro-batch's layer while its experts are away: which assignments still have
// to be sent, which frames are outstanding where, which rows have come back. No transport in here.

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/buffer.h"
#include "router_service/expert_dispatcher.h"

namespace switchyard::router {

// Index of an assignment: row * top_k + rank.
using AssignmentIndex = uint32_t;

class LayerInFlight {
 public:
  // A frame that was sent and not answered yet.
  struct SentFrame {
    uint64_t member = 0;
    uint32_t attempt = 0;
    uint32_t part = 0;
    TimePoint resend_at{};
    bool superseded = false;  // its assignments were sent again; an answer still counts
    std::vector<AssignmentIndex> assignments;
  };

  void Start(const DispatchRequest& request, TimePoint deadline, uint64_t batch, uint64_t epoch,
             uint32_t top_k, size_t row_bytes);
  void Finish(absl::Status status);  // OK is set by the last row itself

  bool active() const { return active_; }
  bool complete() const { return active_ && remaining_ == 0; }
  const absl::Status& failure() const { return failure_; }
  const DispatchRequest& request() const { return request_; }
  TimePoint deadline() const { return deadline_; }
  uint64_t batch() const { return batch_; }
  uint64_t epoch() const { return epoch_; }
  uint32_t attempt() const { return attempt_; }
  uint32_t overdue_resends() const { return overdue_resends_; }
  uint64_t missing() const { return remaining_; }

  // Assignments that are to be sent, ascending. SetSent moves some of them into a frame.
  const std::vector<AssignmentIndex>& pending() const { return pending_; }
  uint32_t ExpertOf(AssignmentIndex index) const {
    return static_cast<uint32_t>(request_.experts[index]);
  }
  uint32_t RowOf(AssignmentIndex index) const { return index / top_k_; }

  // Notes a frame with these assignments (taken out of pending) and returns its part number.
  uint32_t NextPart() { return next_part_++; }
  void SetSent(uint64_t member, uint32_t part, TimePoint resend_at,
               std::span<const AssignmentIndex> assignments);

  // Takes the rows of an answer. False when no such frame is outstanding (stale or duplicate) or
  // the payload does not have one row per assignment.
  bool TakeRows(uint64_t member, uint32_t attempt, uint32_t part,
                std::span<const std::byte> payload);

  // The frame was refused: its missing assignments are to be sent again. False when it is stale.
  bool TakeRefusal(uint64_t member, uint32_t attempt, uint32_t part);

  // The frame was refused because a row of its answer is not finite; which one is not known. Its
  // rows are to be sent once more, each in a frame of its own and best to another owner. A row for
  // which that is refused too is given up: its results stay null. False when it is stale.
  bool TakeNotFinite(uint64_t member, uint32_t attempt, uint32_t part);

  // The member whose answer to the assignment was not finite, so that its row goes alone; else 0.
  uint64_t NotFiniteAt(AssignmentIndex index) const {
    const auto found = not_finite_.find(index);
    return found == not_finite_.end() ? 0 : found->second.member;
  }

  // The member is not asked again for this layer: it said that it will never do it.
  void Exclude(uint64_t member) { excluded_.insert(member); }
  bool Excluded(uint64_t member) const { return excluded_.contains(member); }

  // Everything missing that was sent to a lost member is to be sent again. Returns how many.
  uint64_t LoseMember(uint64_t member);

  // All of it, whatever the member: this side has a new transport. Returns how many.
  uint64_t LoseAll();

  // Frames that waited too long are sent again, and still count if they answer. Returns how many
  // assignments; `late` receives the members that did not answer.
  uint64_t ResendOverdue(TimePoint now, std::set<uint64_t>& late);

  bool Awaits(uint64_t member) const;

  // The member of some outstanding frame, for messages; 0 when none.
  uint64_t AnyOutstandingMember() const;

  DispatchResult result() const { return results_; }

 private:
  std::vector<SentFrame>::iterator FindSent(uint64_t member, uint32_t attempt, uint32_t part);
  bool Missing(AssignmentIndex index) const;
  uint64_t MakePending(const SentFrame& frame);
  void NextAttempt(uint64_t moved);

  struct NotFinite {
    uint64_t member = 0;
    bool given_up = false;
  };

  DispatchRequest request_;
  TimePoint deadline_{};
  bool active_ = false;
  absl::Status failure_;
  uint64_t batch_ = 0;
  uint64_t epoch_ = 0;
  uint32_t top_k_ = 1;
  size_t row_bytes_ = 0;
  uint32_t attempt_ = 0;
  uint32_t overdue_resends_ = 0;
  uint32_t next_part_ = 0;
  uint64_t remaining_ = 0;
  std::vector<AssignmentIndex> pending_;
  std::vector<SentFrame> sent_;
  std::set<uint64_t> excluded_;
  std::map<AssignmentIndex, NotFinite> not_finite_;
  kernels::Buffer rows_;
  std::vector<const void*> results_;  // nullptr while missing, and once given up
};

}  // namespace switchyard::router
