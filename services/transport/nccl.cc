#include "services/transport/nccl.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/transport/nccl_channel.h"

namespace switchyard::transport {
namespace {

// How long Wait sleeps while a GPU is at work: its end wakes nobody.
constexpr Duration kPollPeriod = std::chrono::microseconds(20);

// How often links are looked at when nobody waits.
constexpr Duration kWatchPeriod = std::chrono::milliseconds(20);

class NcclTransport : public Transport, public NcclChannelHost {
 public:
  NcclTransport(std::unique_ptr<Transport> headers, std::unique_ptr<kernels::GpuLinks> links,
                const NcclOptions& options)
      : headers_(std::move(headers)), links_(std::move(links)), options_(options) {}
  ~NcclTransport() override;

  PeerAddress address() const override { return headers_->address(); }
  absl::StatusOr<std::unique_ptr<Channel>> Open(const PeerAddress& peer, const SlotLayout& layout,
                                                uint64_t nonce) override;
  bool Progress() override;
  void Wait(TimePoint deadline) override;
  void Wake() override { headers_->Wake(); }
  uint64_t late_messages() const override { return headers_->late_messages(); }

 private:
  const NcclOptions& options() const override { return options_; }
  kernels::GpuLinks& links() override { return *links_; }
  LinkGraveyard& graveyard() override { return graveyard_; }
  LinkWatch& watch() override { return watch_; }
  void Forget(NcclChannel& channel) override { std::erase(channels_, &channel); }
  bool ProgressChannels();

  const std::unique_ptr<Transport> headers_;
  const std::unique_ptr<kernels::GpuLinks> links_;
  const NcclOptions options_;
  LinkGraveyard graveyard_;
  LinkWatch watch_{kWatchPeriod};
  std::vector<NcclChannel*> channels_;
};

NcclTransport::~NcclTransport() {
  if (graveyard_.WaitUntilEmpty(options_.close_timeout)) return;
  LogWarning() << "NCCL does not end the abort of communicators; they are left to the end of the "
                  "process";
}

absl::StatusOr<std::unique_ptr<Channel>> NcclTransport::Open(const PeerAddress& peer,
                                                             const SlotLayout& layout,
                                                             uint64_t nonce) {
  RETURN_IF_ERROR(CheckLayout(layout));
  RETURN_IF_ERROR(CheckLayout(HeaderLayout(layout)));
  ASSIGN_OR_RETURN(auto memory, links_->Allocate(NcclChannel::MemoryBytes(layout)));
  ASSIGN_OR_RETURN(auto headers, headers_->Open(peer, HeaderLayout(layout), nonce));
  auto channel =
      std::make_unique<NcclChannel>(*this, std::move(headers), layout, std::move(memory));
  channels_.push_back(channel.get());
  return channel;
}

bool NcclTransport::ProgressChannels() {
  bool happened = false;
  for (NcclChannel* channel : channels_) happened |= channel->Progress();
  return happened;
}

bool NcclTransport::Progress() {
  const bool announced = headers_->Progress();
  return ProgressChannels() || announced;
}

void NcclTransport::Wait(TimePoint deadline) {
  if (Progress()) return;
  const bool under_way =
      std::any_of(channels_.begin(), channels_.end(),
                  [](const NcclChannel* channel) { return channel->under_way(); });
  // It may return early: whoever waits looks at the channels and waits again.
  headers_->Wait(under_way ? std::min(deadline, options_.clock->Now() + kPollPeriod) : deadline);
  ProgressChannels();
}

}  // namespace

std::unique_ptr<Transport> MakeNcclTransport(std::unique_ptr<Transport> headers,
                                             std::unique_ptr<kernels::GpuLinks> links,
                                             const NcclOptions& options) {
  return std::make_unique<NcclTransport>(std::move(headers), std::move(links), options);
}

}  // namespace switchyard::transport
