#include "kernels/cuda/nccl_links.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/nccl_status.h"

namespace switchyard::kernels {
namespace {

static_assert(kGpuLinkIdBytes == sizeof(ncclUniqueId));

class NcclLink : public GpuLink {
 public:
  NcclLink(const NcclLibrary& nccl, std::shared_ptr<LinkCuda> cuda,
           std::unique_ptr<LinkStream> stream, GpuLinkEnd end, ncclComm_t communicator)
      : nccl_(nccl),
        cuda_(std::move(cuda)),
        stream_(std::move(stream)),
        end_(end),
        communicator_(communicator) {}
  ~NcclLink() override { Abort(); }

  absl::StatusOr<bool> Connected() override;
  absl::Status Start(void* data, size_t bytes) override;
  absl::StatusOr<uint64_t> Finished() override;
  void Abort() override;

 private:
  struct Transfer {
    void* data = nullptr;
    size_t bytes = 0;
  };

  absl::StatusOr<bool> Settled();
  absl::Status Issue(const Transfer& transfer);
  absl::Status Advance();

  const NcclLibrary nccl_;
  const std::shared_ptr<LinkCuda> cuda_;
  const std::unique_ptr<LinkStream> stream_;
  const GpuLinkEnd end_;
  ncclComm_t communicator_;
  bool connected_ = false;
  // Transfers pass through these in turn; started_ - finished_ is at most kMaxGpuTransfers.
  uint64_t started_ = 0;   // wanted by the user, and in transfers_
  uint64_t issued_ = 0;    // given to NCCL, which has perhaps not put them on the stream yet
  uint64_t recorded_ = 0;  // on the stream
  uint64_t finished_ = 0;
  std::array<Transfer, kMaxGpuTransfers> transfers_;
};

// False while NCCL is still at what it was asked last: connecting to the peer, launching a
// transfer. Nothing else may be asked of the communicator then.
absl::StatusOr<bool> NcclLink::Settled() {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl_.comm_get_async_error(communicator_, &state);
  if (asked != ncclSuccess) return FromNccl(asked, "ncclCommGetAsyncError");
  if (state == ncclInProgress) return false;
  if (state != ncclSuccess) return FromNccl(state, "NCCL's work with a peer");
  return true;
}

absl::StatusOr<bool> NcclLink::Connected() {
  if (connected_) return true;
  const auto settled = Settled();
  if (settled.ok()) connected_ = *settled;
  return settled;
}

absl::Status NcclLink::Issue(const Transfer& transfer) {
  if (const absl::Status status = cuda_->MakeCurrent(); !status.ok()) return status;
  const bool sends = end_ == GpuLinkEnd::kSender;
  const ncclResult_t result =
      sends
          ? nccl_.send(transfer.data, transfer.bytes, ncclUint8, 1, communicator_, stream_->get())
          : nccl_.recv(transfer.data, transfer.bytes, ncclUint8, 0, communicator_, stream_->get());
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  return FromNccl(result,
                  absl::StrCat(sends ? "ncclSend of " : "ncclRecv of ", transfer.bytes, " bytes"));
}

absl::Status NcclLink::Advance() {
  while (recorded_ < started_) {
    const auto settled = Settled();
    if (!settled.ok()) return settled.status();
    if (!*settled) break;
    // Only now the transfer is on the stream for certain.
    if (recorded_ < issued_) {
      if (const absl::Status status = stream_->Record(recorded_); !status.ok()) return status;
      ++recorded_;
    }
    if (issued_ < started_) {
      const absl::Status status = Issue(transfers_[issued_ % kMaxGpuTransfers]);
      if (!status.ok()) return status;
      ++issued_;
    }
  }
  while (finished_ < recorded_) {
    const auto reached = stream_->Reached(finished_);
    if (!reached.ok()) return reached.status();
    if (!*reached) break;
    ++finished_;
  }
  return absl::OkStatus();
}

absl::Status NcclLink::Start(void* data, size_t bytes) {
  if (started_ - finished_ == kMaxGpuTransfers) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a link with ", kMaxGpuTransfers, " unfinished transfers takes no more"));
  }
  transfers_[started_ % kMaxGpuTransfers] = {data, bytes};
  ++started_;
  return Advance();
}

absl::StatusOr<uint64_t> NcclLink::Finished() {
  // Also of an idle link, since that is how NCCL tells that the peer is gone.
  if (const auto settled = Settled(); !settled.ok()) return settled.status();
  if (const absl::Status status = Advance(); !status.ok()) return status;
  return finished_;
}

void NcclLink::Abort() {
  if (communicator_ == nullptr) return;
  // Whatever fails here, there is nobody left to tell and nothing else to try.
  cuda_->MakeCurrent().IgnoreError();
  nccl_.comm_abort(std::exchange(communicator_, nullptr));
  stream_->Synchronize().IgnoreError();
}

class NcclLinks : public GpuLinks {
 public:
  NcclLinks(const NcclLibrary& nccl, std::shared_ptr<LinkCuda> cuda)
      : nccl_(nccl), cuda_(std::move(cuda)) {}

  absl::StatusOr<GpuLinkId> NewId() override {
    if (const absl::Status status = cuda_->MakeCurrent(); !status.ok()) return status;
    ncclUniqueId unique;
    const ncclResult_t result = nccl_.get_unique_id(&unique);
    if (result != ncclSuccess) return FromNccl(result, "ncclGetUniqueId");
    GpuLinkId id;
    std::memcpy(id.data(), &unique, sizeof(unique));
    return id;
  }

  absl::StatusOr<std::unique_ptr<GpuLink>> Connect(const GpuLinkId& id, GpuLinkEnd end) override {
    auto stream = cuda_->MakeStream();
    if (!stream.ok()) return stream.status();
    if (const absl::Status status = cuda_->MakeCurrent(); !status.ok()) return status;
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), sizeof(unique));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t communicator = nullptr;
    const ncclResult_t result = nccl_.comm_init_rank_config(
        &communicator, 2, unique, end == GpuLinkEnd::kSender ? 0 : 1, &config);
    if (result != ncclSuccess && result != ncclInProgress) {
      return FromNccl(result, "ncclCommInitRankConfig");
    }
    return std::make_unique<NcclLink>(nccl_, cuda_, *std::move(stream), end, communicator);
  }

  absl::StatusOr<std::shared_ptr<std::byte>> Allocate(size_t bytes) override {
    return cuda_->Allocate(bytes);
  }

 private:
  const NcclLibrary nccl_;
  const std::shared_ptr<LinkCuda> cuda_;
};

}  // namespace

std::unique_ptr<GpuLinks> MakeNcclLinks(const NcclLibrary& nccl, std::shared_ptr<LinkCuda> cuda) {
  return std::make_unique<NcclLinks>(nccl, std::move(cuda));
}

absl::StatusOr<std::unique_ptr<GpuLinks>> MakeNcclLinks(int ordinal) {
  auto cuda = MakeLinkCuda(ordinal);
  if (!cuda.ok()) return cuda.status();
  const auto nccl = LoadNccl();
  if (!nccl.ok()) return nccl.status();
  return MakeNcclLinks(*nccl, *std::move(cuda));
}

}  // namespace switchyard::kernels
