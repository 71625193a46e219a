#include "services/transport/gpu_transfers.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::transport {

absl::Status GpuTransfers::Start(std::byte* data, size_t bytes, TimePoint now) {
  if (started_ == finished_) moved_at_ = now;
  ++started_;
  return link_->Start(data, bytes);
}

absl::Status GpuTransfers::Check(TimePoint now, Duration patience) {
  ASSIGN_OR_RETURN(const uint64_t finished, link_->Finished());
  if (std::exchange(finished_, finished) != finished) moved_at_ = now;
  if (finished_ < started_ && now - moved_at_ > patience) {
    return absl::DeadlineExceededError(absl::StrCat(
        started_ - finished_,
        " transfers between the GPUs are under way and none has "
        "ended for ",
        patience / std::chrono::milliseconds(1), " ms; the next is number ", finished_));
  }
  return absl::OkStatus();
}

}  // namespace switchyard::transport
