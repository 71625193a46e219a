#pragma once

// The data path between router workers and expert hosts: channels of fixed-capacity slots. A slot
// is a credit: a sender without a free slot waits, so a slow peer pushes back; a slot comes back
// when the receiver lets go of the frame it carried, or (up to half of them, to save messages) when
// the receiver next sends or waits. Backends: loopback (in-process, can inject faults), UCX (shared
// memory, TCP, RDMA) and NCCL (between GPUs). Liveness is the transport's own: each side counts
// every 50 ms from a thread that does not compute, and a closed or silent peer is lost.
//
// Threads: one thread owns a Transport and calls everything on it and its channels except Wake and
// Channel::lost.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/clock.h"
#include "services/transport/frame.h"

namespace switchyard::transport {

// Most slots of a channel in each direction.
inline constexpr uint32_t kMaxSlots = 64;

// What one slot can carry. Both sides of a channel must name the same layout.
struct SlotLayout {
  uint32_t rows = 0;            // most payload rows in a frame
  uint32_t row_bytes = 0;       // bytes of one row
  uint32_t metadata_bytes = 0;  // most metadata bytes in a frame
  uint32_t slots = 0;           // slots in each direction
  bool operator==(const SlotLayout&) const = default;
};

// Identifies a peer and how to reach it; travels over the control plane. `address` is opaque and
// belongs to the backend.
struct PeerAddress {
  uint64_t member = 0;
  uint64_t incarnation = 0;
  std::string address;
};

enum class ChannelState { kOpening, kOpen, kLost };

// A send slot held by the caller until Send or destruction (which frees it unsent). Must not
// outlive its channel.
class SendSlot {
 public:
  virtual ~SendSlot() = default;
  virtual std::span<std::byte> metadata() = 0;  // layout.metadata_bytes
  virtual std::span<std::byte> payload() = 0;   // layout.rows * layout.row_bytes, 64-byte aligned
};

// A received frame; the spans live until it is destroyed, which returns the credit. Must not
// outlive its channel.
class ReceivedFrame {
 public:
  virtual ~ReceivedFrame() = default;
  virtual const FrameHeader& header() const = 0;
  virtual std::span<const std::byte> metadata() const = 0;
  virtual std::span<const std::byte> payload() const = 0;  // rows * row_bytes, 64-byte aligned
};

// Destroying a channel abandons it: nothing is flushed, and no late frame of the peer is seen.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual const PeerAddress& peer() const = 0;
  virtual const SlotLayout& layout() const = 0;
  virtual ChannelState state() const = 0;

  // Why the channel is kLost; OK in the other states.
  virtual absl::Status status() const = 0;

  // From any thread: whether it is lost, even if the owner has not looked yet (then state() still
  // has to turn).
  virtual bool lost() const = 0;

  // nullptr while no credit is free.
  virtual std::unique_ptr<SendSlot> TryAcquire() = 0;

  // Rings the doorbell. Takes header.{rows, metadata_bytes, ...} from the caller and fills sender,
  // sender_incarnation, slot and checksums. Errors: counts above the layout, channel lost.
  virtual absl::Status Send(std::unique_ptr<SendSlot> slot, const FrameHeader& header) = 0;

  // The next frame that arrived whole and passed the header (and payload) checks; nullptr if none.
  virtual std::unique_ptr<ReceivedFrame> TryReceive() = 0;

  // Frames rejected so far (bad magic, checksum, counts above the layout, wrong incarnation).
  virtual uint64_t rejected_frames() const = 0;

  // The lane really in use, e.g. "loopback", "ucx posix", "ucx tcp", "nccl with ucx tcp".
  virtual std::string lane() const = 0;
};

// Outlives its channels.
class Transport {
 public:
  virtual ~Transport() = default;

  // How peers reach this transport; hand it to them over the control plane.
  virtual PeerAddress address() const = 0;

  // Connects to a peer. Both sides call Open with each other's address and the same layout and
  // nonce (a random number agreed over the control plane: a peer that cannot present it is not
  // admitted). Returns at once; state() turns kOpen when the peer is seen, kLost after
  // open_timeout.
  virtual absl::StatusOr<std::unique_ptr<Channel>> Open(const PeerAddress& peer,
                                                        const SlotLayout& layout,
                                                        uint64_t nonce) = 0;

  // Moves data without blocking; true when something happened since Progress or Wait last returned.
  virtual bool Progress() = 0;

  // Drives progress until something happens (a frame, a credit, a peer opened or lost, Wake) or the
  // deadline passes: spins briefly, then sleeps on an event. What happened after Progress or Wait
  // last returned counts, so a caller that has looked at every channel since then misses nothing.
  virtual void Wait(TimePoint deadline) = 0;

  // Ends a Wait in progress, or the next one. The only method for other threads.
  virtual void Wake() = 0;

  // Messages so far that named no channel of this transport: late ones of channels that were
  // abandoned, or a stranger's. They were dropped.
  virtual uint64_t late_messages() const = 0;
};

}  // namespace switchyard::transport
