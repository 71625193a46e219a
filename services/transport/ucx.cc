#include "services/transport/ucx.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/base/unique_fd.h"
#include "services/transport/ucx_channel.h"
#include "services/transport/ucx_slots.h"

namespace switchyard::transport {
namespace {

// How often UCX progresses when no channel uses it: it still has connections of peers to clear
// away.
constexpr Duration kIdleWorkerPeriod = std::chrono::milliseconds(10);

// How long the end of a transport waits for UCX to let go of abandoned channels.
constexpr Duration kCloseTimeout = std::chrono::milliseconds(200);

// Rings from any thread; while it has rung and nobody looked, its descriptor is readable.
class Bell {
 public:
  Bell() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  bool valid() const { return event_.valid(); }
  int fd() const { return event_.get(); }
  void Ring() {
    if (!rung_.exchange(true)) eventfd_write(event_.get(), 1);
  }
  // True once after one or more rings.
  bool Take() { return rung_.load(std::memory_order_relaxed) && rung_.exchange(false); }
  // Makes the descriptor unreadable again; what Take would say stays.
  void Silence() {
    eventfd_t ignored;
    eventfd_read(event_.get(), &ignored);
  }

 private:
  const UniqueFd event_;
  std::atomic<bool> rung_ = false;
};

class UcxTransportImpl : public UcxTransport, public UcxChannelHost {
 public:
  UcxTransportImpl(const UcxOptions& options, std::unique_ptr<UcxWorker> worker,
                   WakeSocket wake_socket)
      : options_(options), worker_(std::move(worker)), wake_socket_(std::move(wake_socket)) {}
  ~UcxTransportImpl() override;

  absl::Status Begin();

  PeerAddress address() const override {
    return {options_.member, options_.incarnation, liveness_->address()};
  }
  absl::StatusOr<std::unique_ptr<Channel>> Open(const PeerAddress& peer, const SlotLayout& layout,
                                                uint64_t nonce) override;
  bool Progress() override;
  void Wait(TimePoint deadline) override;
  void Wake() override { woken_.Ring(); }
  uint64_t late_messages() const override { return late_messages_; }

 private:
  const UcxOptions& options() const override { return options_; }
  UcxWorker& worker() override { return *worker_; }
  Liveness& liveness() override { return *liveness_; }
  const WakeSocket& wake_socket() const override { return wake_socket_; }
  void Abandon(UcxChannel& channel, std::unique_ptr<UcxPeer> peer) override;

  static ucs_status_t OnMessage(void* self, const void* header, size_t header_bytes, void* data,
                                size_t bytes, const ucp_am_recv_param_t* how);
  static ucs_status_t OnPayload(void* self, const void* header, size_t header_bytes, void* data,
                                size_t bytes, const ucp_am_recv_param_t* how);
  UcxMessageLane* LaneOf(const Envelope& envelope);
  bool UsesWorker() const;
  bool LookAround();
  bool TakeLiveness();
  bool Sleep(TimePoint deadline);
  void Poll(TimePoint deadline, bool uses_worker);

  const UcxOptions options_;
  std::unique_ptr<UcxWorker> worker_;
  WakeSocket wake_socket_;
  Bell woken_;
  Bell liveness_changed_;
  std::unique_ptr<Liveness> liveness_;
  std::map<uint64_t, UcxChannel*> channels_;  // by the id that their frames name
  std::vector<std::unique_ptr<UcxPeer>> abandoned_;
  TimePoint worker_progressed_;
  std::random_device random_;
  uint64_t late_messages_ = 0;
};

absl::Status UcxTransportImpl::Begin() {
  if (!woken_.valid() || !liveness_changed_.valid()) {
    return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", strerror(errno)));
  }
  RETURN_IF_ERROR(worker_->Listen(kFrameMessage, &OnMessage, this));
  RETURN_IF_ERROR(worker_->Listen(kCreditMessage, &OnMessage, this));
  RETURN_IF_ERROR(worker_->Listen(kPayloadMessage, &OnPayload, this));
  ASSIGN_OR_RETURN(liveness_, Liveness::Start({.host = options_.host,
                                               .period = options_.liveness_period,
                                               .lost_after = options_.lost_after,
                                               .open_timeout = options_.open_timeout,
                                               .clock = options_.clock,
                                               .notify = [this] { liveness_changed_.Ring(); }}));
  return absl::OkStatus();
}

// Reachable to the end, so that no tool takes it for a leak.
void KeepForever(std::unique_ptr<UcxWorker> worker, std::vector<std::unique_ptr<UcxPeer>> peers) {
  using Kept = std::pair<std::unique_ptr<UcxWorker>, std::vector<std::unique_ptr<UcxPeer>>>;
  static std::mutex mutex;
  static auto* const kept = new std::vector<Kept>;
  const std::lock_guard lock(mutex);
  kept->emplace_back(std::move(worker), std::move(peers));
}

UcxTransportImpl::~UcxTransportImpl() {
  liveness_.reset();
  const TimePoint deadline = Clock::Real().Now() + kCloseTimeout;
  while (!abandoned_.empty() && Clock::Real().Now() < deadline) Progress();
  // UCX may still write to what it does not let go of; and it aborts the process when a worker is
  // destroyed while some connection, perhaps one that only a peer wanted, is being set up.
  const bool settled = options_.lanes == UcxLanes::kSharedMemory || worker_->Settle(deadline);
  if (abandoned_.empty() && settled) return;
  LogWarning() << "UCX does not let go of " << abandoned_.size()
               << " abandoned channels; their memory is left to the end of the process";
  KeepForever(std::move(worker_), std::move(abandoned_));
}

absl::StatusOr<std::unique_ptr<Channel>> UcxTransportImpl::Open(const PeerAddress& peer,
                                                                const SlotLayout& layout,
                                                                uint64_t nonce) {
  RETURN_IF_ERROR(CheckLayout(layout));
  if (std::pair(peer.member, peer.incarnation) ==
      std::pair(options_.member, options_.incarnation)) {
    return absl::InvalidArgumentError("open: the peer is this transport itself");
  }
  ASSIGN_OR_RETURN(auto slots, UcxSlots::Allocate(*worker_, options_, layout));
  const uint64_t id = uint64_t{random_()} << 32 | random_();
  const bool offered = options_.lanes != UcxLanes::kTcp && !options_.payload_memory;
  const Introduction mine = {.member = options_.member,
                             .incarnation = options_.incarnation,
                             .peer_member = peer.member,
                             .peer_incarnation = peer.incarnation,
                             .nonce = nonce,
                             .layout = layout,
                             .channel_id = id,
                             .checksum = options_.checksum_shared_memory,
                             .split = options_.payload_memory.has_value(),
                             .region_address = reinterpret_cast<uint64_t>(slots->region().data()),
                             .region_key = offered ? slots->region().key() : "",
                             .worker_address = worker_->address(),
                             .wake_address = wake_socket_.name()};
  auto channel = std::make_unique<UcxChannel>(*this, mine, peer, std::move(slots));
  channels_[id] = channel.get();
  liveness_->Open(mine, peer.address, channel->lost_flag());
  return channel;
}

void UcxTransportImpl::Abandon(UcxChannel& channel, std::unique_ptr<UcxPeer> peer) {
  channels_.erase(channel.id());
  if (!peer->TryClose()) abandoned_.push_back(std::move(peer));
}

ucs_status_t UcxTransportImpl::OnMessage(void* self, const void* header, size_t header_bytes,
                                         void* data, size_t bytes, const ucp_am_recv_param_t* how) {
  auto& transport = *static_cast<UcxTransportImpl*>(self);
  const auto* const head = static_cast<const std::byte*>(header);
  const bool is_frame = header_bytes == kEnvelopeBytes + kHeaderBytes;
  if (is_frame || header_bytes == kEnvelopeBytes) {
    const Envelope envelope = DecodeEnvelope(head);
    if (UcxMessageLane* const lane = transport.LaneOf(envelope)) {
      if (is_frame) return lane->OnFrame(envelope, head + kEnvelopeBytes, data, bytes, *how);
      lane->OnCredits(envelope.credits);
      return UCS_OK;
    }
  }
  ++transport.late_messages_;
  return UCS_OK;
}

ucs_status_t UcxTransportImpl::OnPayload(void* self, const void* header, size_t header_bytes,
                                         void* data, size_t bytes, const ucp_am_recv_param_t* how) {
  auto& transport = *static_cast<UcxTransportImpl*>(self);
  if (header_bytes == kEnvelopeBytes) {
    const Envelope envelope = DecodeEnvelope(static_cast<const std::byte*>(header));
    if (UcxMessageLane* const lane = transport.LaneOf(envelope)) {
      return lane->OnPayload(envelope, data, bytes, *how);
    }
  }
  ++transport.late_messages_;
  return UCS_OK;
}

// Null where the message names no channel of ours.
UcxMessageLane* UcxTransportImpl::LaneOf(const Envelope& envelope) {
  const auto channel = channels_.find(envelope.channel_id);
  return channel == channels_.end() ? nullptr : channel->second->messages();
}

// Over shared memory nothing happens in UCX, and looking there would cost system calls.
bool UcxTransportImpl::UsesWorker() const {
  return !abandoned_.empty() ||
         std::any_of(channels_.begin(), channels_.end(),
                     [](const auto& entry) { return entry.second->needs_worker(); });
}

bool UcxTransportImpl::TakeLiveness() {
  if (!liveness_changed_.Take() || liveness_ == nullptr) return false;
  for (const LivenessEvent& event : liveness_->TakeEvents()) {
    const auto channel = channels_.find(event.channel_id);
    if (channel != channels_.end()) channel->second->OnLiveness(event);
  }
  return true;
}

// Everything that can have happened, short of UCX's own progress.
bool UcxTransportImpl::LookAround() {
  bool happened = woken_.Take();
  happened |= TakeLiveness();
  for (const auto& [id, channel] : channels_) happened |= channel->HasNews();
  return happened;
}

bool UcxTransportImpl::Progress() {
  const TimePoint now = options_.clock->Now();
  if (UsesWorker() || now - worker_progressed_ >= kIdleWorkerPeriod) {
    worker_progressed_ = now;
    while (worker_->Progress()) {
    }
    std::erase_if(abandoned_, [](const auto& peer) { return peer->TryClose(); });
  }
  return LookAround();
}

void UcxTransportImpl::Wait(TimePoint deadline) {
  const TimePoint begun = options_.clock->Now();
  const TimePoint spin_until = std::min(deadline, begun + options_.spin);
  while (true) {
    if (Progress()) return;
    const TimePoint now = options_.clock->Now();
    if (now >= deadline) return;
    if (now >= spin_until && Sleep(deadline)) return;
  }
}

// Sleeps until something might have happened, or sees that it has. Everybody who could cause it is
// told to ring first, and only then does this side look for the last time.
bool UcxTransportImpl::Sleep(TimePoint deadline) {
  for (const auto& [id, channel] : channels_) channel->BeforeSleep();
  const bool uses_worker = UsesWorker();
  const bool quiet = !uses_worker || worker_->Arm();
  const bool happened = quiet && LookAround();
  if (quiet && !happened) Poll(deadline, uses_worker);
  for (const auto& [id, channel] : channels_) channel->AfterSleep();
  return happened;
}

void UcxTransportImpl::Poll(TimePoint deadline, bool uses_worker) {
  pollfd waits[] = {{.fd = woken_.fd(), .events = POLLIN},
                    {.fd = liveness_changed_.fd(), .events = POLLIN},
                    {.fd = wake_socket_.fd(), .events = POLLIN},
                    {.fd = uses_worker ? worker_->event_fd() : -1, .events = POLLIN}};
  const Duration left = std::clamp(deadline - options_.clock->Now(), Duration::zero(),
                                   Duration(std::chrono::hours(1)));
  const timespec timeout = {.tv_sec = left.count() / 1'000'000'000,
                            .tv_nsec = left.count() % 1'000'000'000};
  ppoll(waits, std::size(waits), &timeout, nullptr);
  if (waits[0].revents != 0) woken_.Silence();
  if (waits[1].revents != 0) liveness_changed_.Silence();
  if (waits[2].revents != 0) wake_socket_.Drain();
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxTransport>> UcxTransport::Start(const UcxOptions& options) {
  if (options.payload_memory && options.lanes == UcxLanes::kSharedMemory) {
    return absl::InvalidArgumentError(
        "payloads in memory of a device are not mapped: shared memory only has no way for them");
  }
  ASSIGN_OR_RETURN(auto worker, UcxWorker::Start(options));
  ASSIGN_OR_RETURN(auto wake_socket, WakeSocket::Bind());
  auto transport =
      std::make_unique<UcxTransportImpl>(options, std::move(worker), std::move(wake_socket));
  RETURN_IF_ERROR(transport->Begin());
  return transport;
}

}  // namespace switchyard::transport
