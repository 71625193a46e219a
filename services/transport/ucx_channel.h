#pragma once

// A channel of the UCX backend: checks frames, and picks the lane once both sides know what they
// can map. The transport tells it what its liveness connection said.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/transport/lane.h"
#include "services/transport/liveness.h"
#include "services/transport/shared_region.h"
#include "services/transport/slot_image.h"
#include "services/transport/transport.h"
#include "services/transport/ucx_message_lane.h"
#include "services/transport/ucx_options.h"
#include "services/transport/ucx_slots.h"
#include "services/transport/ucx_worker.h"
#include "services/transport/wake_socket.h"

namespace switchyard::transport {

// What UCX may use of a channel after it was abandoned: kept by the transport until it is closed.
struct UcxPeer {
  std::unique_ptr<UcxSlots> slots;  // ours
  std::unique_ptr<UcxEndpoint> endpoint;
  std::byte* mapped = nullptr;  // the peer's region here, where it can be mapped
  std::unique_ptr<UcxMessageLane> messages;

  // Needs progress of the worker between calls.
  bool TryClose() {
    return endpoint == nullptr || (endpoint->TryClose() && !(messages && messages->busy()));
  }
};

class UcxChannel;

// What a channel needs from its transport, which outlives it.
class UcxChannelHost {
 public:
  virtual ~UcxChannelHost() = default;
  virtual const UcxOptions& options() const = 0;
  virtual UcxWorker& worker() = 0;
  virtual Liveness& liveness() = 0;
  virtual const WakeSocket& wake_socket() const = 0;
  virtual void Abandon(UcxChannel& channel, std::unique_ptr<UcxPeer> peer) = 0;
};

class UcxChannel : public Channel {
 public:
  UcxChannel(UcxChannelHost& host, const Introduction& mine, const PeerAddress& peer,
             std::unique_ptr<UcxSlots> slots);
  ~UcxChannel() override;

  const PeerAddress& peer() const override { return peer_; }
  const SlotLayout& layout() const override { return mine_.layout; }
  ChannelState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  bool lost() const override { return *lost_; }
  std::unique_ptr<SendSlot> TryAcquire() override;
  absl::Status Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) override;
  std::unique_ptr<ReceivedFrame> TryReceive() override;
  uint64_t rejected_frames() const override;
  std::string lane() const override;

  uint64_t id() const { return mine_.channel_id; }
  const std::shared_ptr<std::atomic<bool>>& lost_flag() const { return lost_; }  // for liveness
  void OnLiveness(const LivenessEvent& event);
  UcxMessageLane* messages() { return peer_state_->messages.get(); }

  // Whether UCX has anything to do for it: messages, or the connection for them.
  bool needs_worker() const {
    const bool uses_messages = lane_ != nullptr && lane_ == peer_state_->messages.get();
    return uses_messages || (peer_state_->endpoint != nullptr && !peer_state_->endpoint->Settled());
  }

  bool HasNews();
  void BeforeSleep();
  void AfterSleep();

  // Of the slots and frames that this channel handed out.
  const UcxSlots& slots() const { return slots_; }
  void FreeUnsent(uint32_t slot) { lane_->FreeUnsent(slot); }
  void Release(const HeldImage& image) { lane_->Release(image); }

 private:
  void Connect(const Introduction& theirs);
  bool TryOpen();
  void PickLane();
  void Lose(absl::Status why);
  absl::StatusOr<FrameHeader> Check(const HeldImage& image) const;
  absl::Status Finish(uint32_t slot, FrameHeader& header) const;
  std::span<const std::byte> KeepMetadata(const HeldImage& image, const FrameHeader& header);

  UcxChannelHost& host_;
  const Introduction mine_;
  const PeerAddress peer_;
  ArrivalRules rules_;
  ChannelState state_ = ChannelState::kOpening;
  absl::Status status_;
  const std::shared_ptr<std::atomic<bool>> lost_ = std::make_shared<std::atomic<bool>>(false);
  std::string peer_wake_address_;
  bool ready_sent_ = false;
  std::optional<bool> mapped_by_peer_;  // what its ready message says
  std::unique_ptr<UcxPeer> peer_state_;
  const UcxSlots& slots_;
  bool split_ = false;  // payloads are messages of their own
  std::unique_ptr<Lane> shared_;
  Lane* lane_ = nullptr;                // `shared_` or the messages; null until the channel is open
  std::vector<AlignedBytes> metadata_;  // per slot of the peer: copies of what it could change
  uint64_t rejected_ = 0;
};

}  // namespace switchyard::transport
