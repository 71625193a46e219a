#include "services/transport/nccl_channel.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::transport {
namespace {

static_assert(kMaxSlots <= kernels::kMaxGpuTransfers);

constexpr size_t kBufferAlignment = 256;

size_t BufferBytes(const SlotLayout& layout) {
  return (PayloadBytes(layout) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

class NcclSendSlot : public SendSlot {
 public:
  NcclSendSlot(NcclChannel& channel, std::unique_ptr<SendSlot> announcement, uint32_t buffer)
      : channel_(channel), announcement_(std::move(announcement)), buffer_(buffer) {}
  ~NcclSendSlot() override {
    announcement_.reset();
    channel_.ReturnSlot(buffer_);
  }
  std::span<std::byte> metadata() override {
    return announcement_->metadata().first(channel_.layout().metadata_bytes);
  }
  std::span<std::byte> payload() override {
    return {channel_.send_buffer(*buffer_), PayloadBytes(channel_.layout())};
  }

  SendSlot& announcement() { return *announcement_; }
  std::unique_ptr<SendSlot> TakeAnnouncement() { return std::move(announcement_); }

  // A transfer reads the buffer, which comes back when that is done.
  uint32_t TakeBuffer() { return *std::exchange(buffer_, std::nullopt); }
  uint32_t buffer() const { return *buffer_; }

 private:
  NcclChannel& channel_;
  std::unique_ptr<SendSlot> announcement_;
  std::optional<uint32_t> buffer_;
};

class NcclFrame : public ReceivedFrame {
 public:
  NcclFrame(NcclChannel& channel, std::unique_ptr<ReceivedFrame> announced,
            const FrameHeader& header, const std::byte* payload)
      : channel_(channel), announced_(std::move(announced)), header_(header), payload_(payload) {}
  ~NcclFrame() override {
    announced_.reset();
    channel_.ReturnFrame();
  }
  const FrameHeader& header() const override { return header_; }
  std::span<const std::byte> metadata() const override {
    return announced_->metadata().first(header_.metadata_bytes);
  }
  std::span<const std::byte> payload() const override { return {payload_, PayloadBytes(header_)}; }

 private:
  NcclChannel& channel_;
  std::unique_ptr<ReceivedFrame> announced_;
  const FrameHeader header_;
  const std::byte* const payload_;
};

}  // namespace

size_t NcclChannel::MemoryBytes(const SlotLayout& layout) {
  return std::max(2 * layout.slots * BufferBytes(layout), kBufferAlignment);
}

NcclChannel::NcclChannel(NcclChannelHost& host, std::unique_ptr<Channel> headers,
                         const SlotLayout& layout, std::shared_ptr<std::byte> memory)
    : host_(host),
      headers_(std::move(headers)),
      layout_(layout),
      peer_(headers_->peer()),
      memory_(std::move(memory)) {
  for (uint32_t buffer = layout.slots; buffer-- > 0;) free_.push_back(buffer);
  host_.watch().Add(*this);
}

NcclChannel::~NcclChannel() {
  host_.watch().Remove(*this);
  arrivals_.clear();
  headers_.reset();  // the peer hears of it first
  BuryLinks();
  host_.Forget(*this);
}

std::byte* NcclChannel::Buffer(size_t index) const {
  return memory_.get() + index * BufferBytes(layout_);
}

bool NcclChannel::Progress() {
  const std::lock_guard lock(mutex_);
  return ProgressLocked();
}

bool NcclChannel::ProgressLocked() {
  if (state_ == ChannelState::kLost) return false;
  if (headers_->state() == ChannelState::kOpening) return false;
  if (headers_->state() == ChannelState::kLost) {
    Lose(headers_->status());
    return true;
  }
  if (!ended_.ok()) {
    // Where the peer is lost, the headers' channel says why as soon as its owner is told.
    if (!headers_->lost()) Lose(Named(ended_));
    return state_ == ChannelState::kLost;
  }
  const TimePoint now = host_.options().clock->Now();
  const absl::StatusOr<bool> happened =
      state_ == ChannelState::kOpening ? SetUp(now) : Exchange(now);
  if (happened.ok()) return *happened;
  Lose(Named(happened.status()));
  return true;
}

absl::Status NcclChannel::Named(const absl::Status& status) const {
  return absl::Status(status.code(),
                      absl::StrCat("nccl channel with member ", peer_.member, " incarnation ",
                                   peer_.incarnation, ": ", status.message()));
}

bool NcclChannel::lost() const {
  const std::lock_guard lock(mutex_);
  return !ended_.ok() || headers_ == nullptr || headers_->lost();
}

// The owner may be waiting for the device, which a transfer with a dead peer occupies until its
// link is aborted.
void NcclChannel::Watch() {
  // An owner that is at it, perhaps held up by the device, must not keep other links from their
  // end.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  if (headers_ == nullptr || !ended_.ok()) return;
  ended_ = headers_->lost() ? absl::UnavailableError("the peer is lost")
                            : CheckLinks(host_.options().clock->Now());
  if (!ended_.ok()) BuryLinks();
}

absl::Status NcclChannel::CheckLinks(TimePoint now) {
  for (GpuTransfers* transfers : {&outgoing_, &incoming_}) {
    if (!transfers->has_link()) continue;
    RETURN_IF_ERROR(transfers->Check(now, host_.options().transfer_timeout));
  }
  return absl::OkStatus();
}

void NcclChannel::BuryLinks() {
  host_.graveyard().Bury(outgoing_.TakeLink(), memory_);
  host_.graveyard().Bury(incoming_.TakeLink(), memory_);
}

bool NcclChannel::under_way() const {
  const std::lock_guard lock(mutex_);
  if (state_ == ChannelState::kLost) return false;
  if (state_ == ChannelState::kOpening) return setting_up_since_.has_value();
  return !ended_.ok() || outgoing_.under_way() || incoming_.under_way();
}

// Open when both links are connected and the peer has read our offer, which has then given its slot
// back.
absl::StatusOr<bool> NcclChannel::SetUp(TimePoint now) {
  if (!setting_up_since_) setting_up_since_ = now;
  if (!outgoing_.has_link()) RETURN_IF_ERROR(OfferLink());
  if (!incoming_.has_link()) RETURN_IF_ERROR(TakeOffer());
  if (outgoing_.has_link() && incoming_.has_link()) {
    ASSIGN_OR_RETURN(const bool sends, outgoing_.Connected());
    ASSIGN_OR_RETURN(const bool receives, incoming_.Connected());
    if (sends && receives && OfferWasRead()) {
      state_ = ChannelState::kOpen;
      lane_ = absl::StrCat("nccl with ", headers_->lane());
      return true;
    }
  }
  const Duration patience = host_.options().open_timeout;
  if (now - *setting_up_since_ > patience) {
    return absl::DeadlineExceededError(
        absl::StrCat("the GPUs did not connect within ", patience / std::chrono::milliseconds(1),
                     " ms; can NCCL reach the peer (NCCL_SOCKET_IFNAME, NCCL_DEBUG=INFO)?"));
  }
  return false;
}

absl::Status NcclChannel::OfferLink() {
  std::unique_ptr<SendSlot> slot = headers_->TryAcquire();
  if (slot == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const kernels::GpuLinkId id, host_.links().NewId());
  ASSIGN_OR_RETURN(auto link, host_.links().Connect(id, kernels::GpuLinkEnd::kSender));
  outgoing_.SetLink(std::move(link));
  EncodeLinkOffer({.id = id, .layout = layout_}, slot->metadata());
  return headers_->Send(std::move(slot), {.metadata_bytes = kLinkOfferBytes});
}

absl::Status NcclChannel::TakeOffer() {
  const std::unique_ptr<ReceivedFrame> frame = headers_->TryReceive();
  if (frame == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const LinkOffer offer, DecodeLinkOffer(frame->metadata()));
  if (offer.layout != layout_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the peer names another slot layout: rows of ", offer.layout.row_bytes,
                     " bytes and ", offer.layout.metadata_bytes, " bytes of metadata, here ",
                     layout_.row_bytes, " and ", layout_.metadata_bytes));
  }
  ASSIGN_OR_RETURN(auto link, host_.links().Connect(offer.id, kernels::GpuLinkEnd::kReceiver));
  incoming_.SetLink(std::move(link));
  return absl::OkStatus();
}

bool NcclChannel::OfferWasRead() {
  std::vector<std::unique_ptr<SendSlot>> slots;
  while (auto slot = headers_->TryAcquire()) slots.push_back(std::move(slot));
  return slots.size() == layout_.slots;
}

absl::StatusOr<bool> NcclChannel::Exchange(TimePoint now) {
  const Duration patience = host_.options().transfer_timeout;
  RETURN_IF_ERROR(outgoing_.Check(now, patience));
  const uint64_t sent = outgoing_.TakeEnded();
  free_.insert(free_.end(), sending_.begin(), sending_.begin() + static_cast<ptrdiff_t>(sent));
  sending_.erase(sending_.begin(), sending_.begin() + static_cast<ptrdiff_t>(sent));
  bool happened = sent > 0;
  while (std::unique_ptr<ReceivedFrame> announced = headers_->TryReceive()) {
    ASSIGN_OR_RETURN(const FrameHeader header, ReadAnnouncement(*announced));
    if (const size_t bytes = PayloadBytes(header); bytes > 0) {
      RETURN_IF_ERROR(incoming_.Start(Buffer(layout_.slots + header.slot), bytes, now));
    }
    arrivals_.push_back({std::move(announced), header, incoming_.started()});
    happened = true;
  }
  RETURN_IF_ERROR(incoming_.Check(now, patience));
  return incoming_.TakeEnded() > 0 || happened;
}

// What the headers' channel has checked is right: the rows, the slot, who sends.
absl::StatusOr<FrameHeader> NcclChannel::ReadAnnouncement(const ReceivedFrame& announced) const {
  FrameHeader header = announced.header();
  if (header.metadata_bytes < kAnnouncementBytes) {
    return absl::InvalidArgumentError("a frame of the peer announces nothing");
  }
  const Announcement announcement = DecodeAnnouncement(announced.metadata());
  // One that was lost on the way would leave a send without its receive, and pair all later ones
  // wrongly.
  if (announcement.transfer != incoming_.started()) {
    return absl::DataLossError(absl::StrCat("the peer announces transfer ", announcement.transfer,
                                            ", expected ", incoming_.started(),
                                            ": an announcement was lost"));
  }
  header.row_bytes = announcement.row_bytes;
  header.metadata_bytes -= static_cast<uint32_t>(kAnnouncementBytes);
  header.payload_checksum = 0;  // that of the headers' channel covered the announcement
  RETURN_IF_ERROR(CheckCounts(layout_, header));
  return header;
}

std::unique_ptr<SendSlot> NcclChannel::TryAcquire() {
  if (state_ != ChannelState::kOpen || free_.empty()) return nullptr;
  std::unique_ptr<SendSlot> announcement = headers_->TryAcquire();
  if (announcement == nullptr) return nullptr;
  const uint32_t buffer = free_.back();
  free_.pop_back();
  ++handed_out_;
  return std::make_unique<NcclSendSlot>(*this, std::move(announcement), buffer);
}

absl::Status NcclChannel::Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) {
  absl::Status status;
  {
    const std::lock_guard lock(mutex_);
    status = SendLocked(*slot, header);
  }
  return status;  // the slot, if it was not sent, comes back without the mutex held
}

absl::Status NcclChannel::SendLocked(SendSlot& slot, const FrameHeader& header) {
  if (state_ == ChannelState::kLost) return status_;
  if (!ended_.ok()) return Named(ended_);
  RETURN_IF_ERROR(CheckCounts(layout_, header));
  auto& sent = static_cast<NcclSendSlot&>(slot);
  EncodeAnnouncement({.transfer = outgoing_.started(), .row_bytes = header.row_bytes},
                     sent.announcement().metadata().subspan(header.metadata_bytes));
  FrameHeader announced = header;
  announced.row_bytes = 0;
  announced.metadata_bytes += static_cast<uint32_t>(kAnnouncementBytes);
  RETURN_IF_ERROR(headers_->Send(sent.TakeAnnouncement(), announced));
  const size_t bytes = PayloadBytes(header);
  if (bytes == 0) return absl::OkStatus();
  std::byte* const data = Buffer(sent.buffer());
  sending_.push_back(sent.TakeBuffer());
  const absl::Status started = outgoing_.Start(data, bytes, host_.options().clock->Now());
  if (started.ok()) return started;
  Lose(Named(started));
  return status_;
}

std::unique_ptr<ReceivedFrame> NcclChannel::TryReceive() {
  const std::lock_guard lock(mutex_);
  if (arrivals_.empty() || incoming_.finished() < arrivals_.front().transfers) return nullptr;
  Arrival arrival = std::move(arrivals_.front());
  arrivals_.pop_front();
  ++handed_out_;
  return std::make_unique<NcclFrame>(*this, std::move(arrival.announced), arrival.header,
                                     Buffer(layout_.slots + arrival.header.slot));
}

void NcclChannel::ReturnSlot(std::optional<uint32_t> unused_buffer) {
  const std::lock_guard lock(mutex_);
  if (unused_buffer) free_.push_back(*unused_buffer);
  --handed_out_;
  CloseIfUnused();
}

void NcclChannel::ReturnFrame() {
  const std::lock_guard lock(mutex_);
  --handed_out_;
  CloseIfUnused();
}

uint64_t NcclChannel::rejected_frames() const {
  return headers_ != nullptr ? headers_->rejected_frames() : rejected_;
}

// The peer's death, or a failure here, ends the links with this peer and no others.
void NcclChannel::Lose(absl::Status why) {
  state_ = ChannelState::kLost;
  status_ = std::move(why);
  arrivals_.clear();
  BuryLinks();
  CloseIfUnused();
}

// Tells the peer that the channel is lost here. Slots and frames that the caller holds still point
// into the headers' channel.
void NcclChannel::CloseIfUnused() {
  if (state_ != ChannelState::kLost || handed_out_ > 0 || headers_ == nullptr) return;
  rejected_ = headers_->rejected_frames();
  headers_.reset();
}

}  // namespace switchyard::transport
