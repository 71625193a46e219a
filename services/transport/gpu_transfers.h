#pragma once

// The transfers of one direction of a NCCL channel: a link, and how far it has come.

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

  // How many have ended since the last call. Once none has for `patience` while some are under way,
  // an error.
  absl::StatusOr<uint64_t> Poll(TimePoint now, Duration patience);

  uint64_t started() const { return started_; }
  uint64_t finished() const { return finished_; }

 private:
  std::unique_ptr<kernels::GpuLink> link_;
  uint64_t started_ = 0;
  uint64_t finished_ = 0;
  TimePoint moved_at_;  // when one last ended, or the first of those under way was started
};

}  // namespace switchyard::transport
