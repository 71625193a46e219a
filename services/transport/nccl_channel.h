#pragma once

// A channel of the NCCL backend: payloads by links between the GPUs, everything else (headers,
// metadata, credits, liveness) by a channel of another backend beneath.

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "services/transport/gpu_transfers.h"
#include "services/transport/link_graveyard.h"
#include "services/transport/link_watch.h"
#include "services/transport/nccl_message.h"
#include "services/transport/nccl_options.h"
#include "services/transport/slot_image.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

class NcclChannel;

// What a channel needs from its transport, which outlives it.
class NcclChannelHost {
 public:
  virtual ~NcclChannelHost() = default;
  virtual const NcclOptions& options() const = 0;
  virtual kernels::GpuLinks& links() = 0;
  virtual LinkGraveyard& graveyard() = 0;
  virtual LinkWatch& watch() = 0;
  virtual void Forget(NcclChannel& channel) = 0;
};

// The links are aborted by whoever sees first that the peer is lost or that they do not work: the
// owner, or the thread of the watch, which does nothing else.
class NcclChannel : public Channel, public WatchedLinks {
 public:
  // Bytes that a channel needs for what it sends and receives.
  static size_t MemoryBytes(const SlotLayout& layout);

  // `headers` has the layout HeaderLayout(layout).
  NcclChannel(NcclChannelHost& host, std::unique_ptr<Channel> headers, const SlotLayout& layout,
              std::shared_ptr<std::byte> memory);
  ~NcclChannel() override;

  const PeerAddress& peer() const override { return peer_; }
  const SlotLayout& layout() const override { return layout_; }
  ChannelState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  bool lost() const override;
  std::unique_ptr<SendSlot> TryAcquire() override;
  absl::Status Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) override;
  std::unique_ptr<ReceivedFrame> TryReceive() override;
  uint64_t rejected_frames() const override;
  std::string lane() const override { return lane_; }

  // Lets the peer, the GPU and time act; true when something happened.
  bool Progress();

  void Watch() override;

  // Whether something is under way that nothing announces, so that Progress must be called again.
  bool under_way() const;

  // Of the slots and frames that this channel handed out.
  std::byte* send_buffer(uint32_t index) const { return Buffer(index); }
  void ReturnSlot(std::optional<uint32_t> unused_buffer);
  void ReturnFrame();

 private:
  // A frame whose payload has come when as many transfers have finished.
  struct Arrival {
    std::unique_ptr<ReceivedFrame> announced;
    FrameHeader header;
    uint64_t transfers = 0;
  };

  // Those below want the mutex held.
  bool ProgressLocked();
  absl::Status SendLocked(SendSlot& slot, const FrameHeader& header);
  absl::Status CheckLinks(TimePoint now);
  void BuryLinks();
  absl::StatusOr<bool> SetUp(TimePoint now);
  absl::Status OfferLink();
  absl::Status TakeOffer();
  bool OfferWasRead();
  absl::StatusOr<bool> Exchange(TimePoint now);
  absl::StatusOr<FrameHeader> ReadAnnouncement(const ReceivedFrame& announced) const;
  absl::Status Named(const absl::Status& status) const;
  void Lose(absl::Status why);
  void CloseIfUnused();

  std::byte* Buffer(size_t index) const;

  NcclChannelHost& host_;
  mutable std::mutex mutex_;          // of headers_ as such, the links, and ended_
  std::unique_ptr<Channel> headers_;  // null once a lost channel is used no more
  const SlotLayout layout_;
  const PeerAddress peer_;
  const std::shared_ptr<std::byte> memory_;  // buffers: of ours, then of the peer's by its slots
  ChannelState state_ = ChannelState::kOpening;
  absl::Status status_;
  std::string lane_ = "none yet";
  absl::Status ended_;  // why the watch has aborted the links
  std::optional<TimePoint> setting_up_since_;
  GpuTransfers outgoing_;
  GpuTransfers incoming_;
  std::vector<uint32_t> free_;    // buffers to send from
  std::deque<uint32_t> sending_;  // those that transfers read, in order
  std::deque<Arrival> arrivals_;
  int handed_out_ = 0;  // slots and frames that the caller holds
  uint64_t rejected_ = 0;
};

}  // namespace switchyard::transport
