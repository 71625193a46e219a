#pragma once

// The transfers of one direction of a NCCL channel: a link, and how far it has come. Used by one
// thread at a time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/gpu_links.h"
#include "services/base/clock.h"

namespace switchyard::transport {

class GpuTransfers {
 public:
  bool has_link() const { return link_ != nullptr; }
  void SetLink(std::unique_ptr<kernels::GpuLink> link) { link_ = std::move(link); }
  std::unique_ptr<kernels::GpuLink> TakeLink() { return std::move(link_); }

  // All others need the link.
  absl::StatusOr<bool> Connected() { return link_->Connected(); }
  absl::Status Start(std::byte* data, size_t bytes, TimePoint now);

  // Moves them on and sees how far they are. Once none has ended for `patience` while some are
  // under way, an error.
  absl::Status Check(TimePoint now, Duration patience);

  // How many have ended since the last call, as far as Check has seen.
  uint64_t TakeEnded() { return finished_ - std::exchange(taken_, finished_); }

  // Whether TakeEnded will have more to tell.
  bool under_way() const { return taken_ < started_; }

  uint64_t started() const { return started_; }
  uint64_t finished() const { return finished_; }

 private:
  std::unique_ptr<kernels::GpuLink> link_;
  uint64_t started_ = 0;
  uint64_t finished_ = 0;
  uint64_t taken_ = 0;  // of them
  TimePoint moved_at_;  // when one last ended, or the first of those under way was started
};

}  // namespace switchyard::transport
