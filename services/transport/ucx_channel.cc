#include "services/transport/ucx_channel.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/transport/shared_lane.h"

namespace switchyard::transport {
namespace {

class UcxSendSlot : public SendSlot {
 public:
  UcxSendSlot(UcxChannel& channel, uint32_t index) : channel_(channel), index_(index) {}
  ~UcxSendSlot() override {
    if (!sent_) channel_.FreeUnsent(index_);
  }
  std::span<std::byte> metadata() override { return channel_.slots().metadata(index_); }
  std::span<std::byte> payload() override { return channel_.slots().payload(index_); }

  uint32_t index() const { return index_; }
  void MarkSent() { sent_ = true; }

 private:
  UcxChannel& channel_;
  const uint32_t index_;
  bool sent_ = false;
};

class UcxFrame : public ReceivedFrame {
 public:
  UcxFrame(UcxChannel& channel, const HeldImage& image, const FrameHeader& header,
           std::span<const std::byte> metadata)
      : channel_(channel), image_(image), header_(header), metadata_(metadata) {}
  ~UcxFrame() override { channel_.Release(image_); }
  const FrameHeader& header() const override { return header_; }
  std::span<const std::byte> metadata() const override { return metadata_; }
  std::span<const std::byte> payload() const override {
    return image_.payload ? *image_.payload : ReceivedPayload(image_.body, header_);
  }

 private:
  UcxChannel& channel_;
  const HeldImage image_;
  const FrameHeader header_;
  const std::span<const std::byte> metadata_;
};

std::span<const std::byte> MetadataOf(const HeldImage& image, const FrameHeader& header) {
  if (image.payload) return {image.body, header.metadata_bytes};
  return ReceivedMetadata(image.body, header);
}

}  // namespace

UcxChannel::UcxChannel(UcxChannelHost& host, const Introduction& mine, const PeerAddress& peer,
                       std::unique_ptr<UcxSlots> slots)
    : host_(host),
      mine_(mine),
      peer_(peer),
      rules_{.layout = mine.layout, .sender = peer.member, .sender_incarnation = peer.incarnation},
      peer_state_(std::make_unique<UcxPeer>()),
      slots_(*slots),
      metadata_(mine.layout.slots) {
  peer_state_->slots = std::move(slots);
}

UcxChannel::~UcxChannel() {
  host_.liveness().Close(id());
  host_.Abandon(*this, std::move(peer_state_));
}

void UcxChannel::OnLiveness(const LivenessEvent& event) {
  switch (event.kind) {
    case LivenessEvent::Kind::kIntroduced:
      Connect(event.peer);
      break;
    case LivenessEvent::Kind::kReady:
      if (peer_state_->messages == nullptr || mapped_by_peer_) {
        Lose(absl::InternalError("the peer is ready before it has introduced itself, or twice"));
      }
      mapped_by_peer_ = event.mapped;
      break;
    case LivenessEvent::Kind::kLost:
      Lose(event.why);
      break;
  }
}

// The peer is admitted: prepare both lanes.
void UcxChannel::Connect(const Introduction& theirs) {
  auto endpoint = host_.worker().Connect(theirs.worker_address);
  if (!endpoint.ok()) return Lose(endpoint.status());
  peer_state_->endpoint = *std::move(endpoint);
  if (!theirs.region_key.empty() && !mine_.region_key.empty()) {
    auto mapped = peer_state_->endpoint->Map(theirs.region_key, theirs.region_address);
    if (mapped.ok()) {
      peer_state_->mapped = *mapped;
    } else if (host_.options().lanes == UcxLanes::kSharedMemory) {
      return Lose(mapped.status());
    }
  }
  split_ = mine_.split || theirs.split;
  // From memory of the host eager messages are at least as fast, and nothing waits for the peer.
  const size_t rendezvous_from =
      slots_.has_payload_memory() ? host_.options().rendezvous_from : SIZE_MAX;
  peer_state_->messages = std::make_unique<UcxMessageLane>(
      layout(), slots_, UcxMessageFormat{.split = split_, .rendezvous_from = rendezvous_from},
      theirs.channel_id, host_.worker(), *peer_state_->endpoint);
  peer_wake_address_ = theirs.wake_address;
  rules_.checksum = mine_.checksum || theirs.checksum;
}

// Open when UCX's connection stands and both sides have said whether they map the other's slots.
bool UcxChannel::TryOpen() {
  if (peer_state_->messages == nullptr || !peer_state_->endpoint->Settled()) return false;
  if (!std::exchange(ready_sent_, true)) {
    host_.liveness().SendReady(id(), peer_state_->mapped != nullptr);
  }
  if (!mapped_by_peer_) return false;
  PickLane();
  return true;
}

void UcxChannel::PickLane() {
  if (*mapped_by_peer_ && peer_state_->mapped != nullptr) {
    const SharedRegion ours(slots_.region().data(), layout());
    const SharedRegion theirs(peer_state_->mapped, layout());
    shared_ = MakeSharedLane(layout(), ours, theirs,
                             [this] { host_.wake_socket().Ring(peer_wake_address_); });
    lane_ = shared_.get();
  } else if (host_.options().lanes == UcxLanes::kSharedMemory) {
    return Lose(absl::FailedPreconditionError(
        "shared memory only, but the peer cannot map this process's memory or offers none of its "
        "own (payloads on a device)"));
  } else {
    lane_ = peer_state_->messages.get();
    rules_.checksum = true;
  }
  state_ = ChannelState::kOpen;
}

void UcxChannel::Lose(absl::Status why) {
  if (state_ == ChannelState::kLost) return;
  state_ = ChannelState::kLost;
  lost_->store(true);
  status_ = std::move(why);
  host_.liveness().Close(id());
}

std::unique_ptr<SendSlot> UcxChannel::TryAcquire() {
  if (state_ != ChannelState::kOpen) return nullptr;
  const auto slot = lane_->Acquire();
  return slot ? std::make_unique<UcxSendSlot>(*this, *slot) : nullptr;
}

absl::Status UcxChannel::Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) {
  if (state_ == ChannelState::kLost) return status_;
  auto& sent = static_cast<UcxSendSlot&>(*slot);
  FrameHeader complete = header;
  complete.sender = mine_.member;
  complete.sender_incarnation = mine_.incarnation;
  complete.slot = sent.index();
  RETURN_IF_ERROR(Finish(sent.index(), complete));
  sent.MarkSent();
  return lane_->Post(sent.index(), complete);
}

absl::Status UcxChannel::Finish(uint32_t slot, FrameHeader& header) const {
  std::byte* const image = slots_.image(slot);
  if (!split_) return FinishImage(layout(), header, rules_.checksum, image);
  return FinishSplit(layout(), header, rules_.checksum, slots_.metadata(slot).data(),
                     std::span<std::byte, kHeaderBytes>(image, kHeaderBytes));
}

// Where the peer could still change the metadata, gives a copy, so that what is checked is what is
// used. (The payload is numbers: whatever they are, they harm nothing.)
std::span<const std::byte> UcxChannel::KeepMetadata(const HeldImage& image,
                                                    const FrameHeader& header) {
  const std::span<const std::byte> metadata = MetadataOf(image, header);
  if (lane_ != shared_.get() || metadata.empty()) return metadata;
  AlignedBytes& copy = metadata_[image.slot];
  if (copy == nullptr) copy = AllocateAligned(layout().metadata_bytes);
  std::memcpy(copy.get(), metadata.data(), metadata.size());
  return {copy.get(), metadata.size()};
}

absl::StatusOr<FrameHeader> UcxChannel::Check(const HeldImage& image) const {
  std::optional<size_t> bytes = image.body_bytes;
  if (image.payload) *bytes += image.payload->size();
  ASSIGN_OR_RETURN(const FrameHeader header, CheckArrival(rules_, image.header, bytes));
  if (header.slot != image.slot) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame of slot ", header.slot, " in slot ", image.slot));
  }
  if (image.payload && image.payload->size() != PayloadBytes(header)) {
    return absl::DataLossError(absl::StrCat("frame with ", image.payload->size(),
                                            " bytes of payload, its header names ",
                                            PayloadBytes(header)));
  }
  const size_t body_bytes = image.payload ? header.metadata_bytes : BodyBytes(header);
  RETURN_IF_ERROR(CheckBody(rules_, header, {image.body, body_bytes}));
  return header;
}

std::unique_ptr<ReceivedFrame> UcxChannel::TryReceive() {
  if (state_ != ChannelState::kOpen) return nullptr;
  while (const auto image = lane_->Take()) {
    const auto header = Check(*image);
    if (header.ok()) {
      return std::make_unique<UcxFrame>(*this, *image, *header, KeepMetadata(*image, *header));
    }
    // Ever more seldom, so that a hostile peer cannot fill the log.
    if (std::has_single_bit(++rejected_)) {
      LogWarning() << "rejected from member " << peer_.member << " over " << lane() << ", "
                   << rejected_ << " so far: " << header.status().message();
    }
    lane_->Release(*image);
  }
  return nullptr;
}

uint64_t UcxChannel::rejected_frames() const {
  return rejected_ + (lane_ != nullptr ? lane_->rejected() : 0);
}

std::string UcxChannel::lane() const {
  return lane_ != nullptr ? absl::StrCat("ucx ", lane_->name()) : "none yet";
}

bool UcxChannel::HasNews() {
  if (state_ == ChannelState::kLost) return false;
  if (state_ == ChannelState::kOpening) return TryOpen();
  if (peer_state_->endpoint != nullptr && !peer_state_->endpoint->failure().ok() &&
      lane_ == peer_state_->messages.get()) {
    Lose(peer_state_->endpoint->failure());
    return true;
  }
  return lane_ != nullptr && lane_->HasNews();
}

void UcxChannel::BeforeSleep() {
  if (state_ == ChannelState::kOpen) lane_->BeforeSleep();
}

void UcxChannel::AfterSleep() {
  if (state_ == ChannelState::kOpen) lane_->AfterSleep();
}

}  // namespace switchyard::transport
