#pragma once

// The lane over UCX active messages. A frame is one message: an envelope and the frame's header as
// the message's header, its body as the data. Such messages are eager: over TCP that is at least as
// fast as rendezvous at every size measured, and a receiver keeps no state for a peer that dies
// half-way.
//
// Where one side has its payloads in memory of a device, frames are split: the message has the
// metadata only, and the payload is the data of a second one, received into the slot. (As part of
// the first one's header the metadata could exceed what UCX takes there.) The two may arrive in any
// order; frames are given out in the order of their first messages, once they are complete.

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "services/transport/aligned_bytes.h"
#include "services/transport/lane.h"
#include "services/transport/slot_image.h"
#include "services/transport/ucx_slots.h"
#include "services/transport/ucx_worker.h"

namespace switchyard::transport {

inline constexpr unsigned kFrameMessage = 0;    // envelope, header; body, or metadata when split
inline constexpr unsigned kCreditMessage = 1;   // envelope
inline constexpr unsigned kPayloadMessage = 2;  // envelope; payload

// What precedes every message. Channel ids are random numbers that the receiver chose and gave to
// the peer that it admitted; whatever names another is dropped.
struct Envelope {
  uint64_t channel_id = 0;
  SlotSet credits = 0;         // slots that the sender gives back
  uint32_t slot = 0;           // of the frame
  uint32_t payload_bytes = 0;  // of a split frame: bytes in the message that belongs to this one
};
inline constexpr size_t kEnvelopeBytes = 24;

void EncodeEnvelope(const Envelope& envelope, std::byte* bytes);
Envelope DecodeEnvelope(const std::byte* bytes);

struct UcxMessageFormat {
  bool split = false;          // agreed with the peer
  size_t rendezvous_from = 0;  // bytes: from here on the receiver fetches a split frame's payload
};

// Must not outlive worker, endpoint and slots; may be destroyed once the endpoint is closed.
class UcxMessageLane : public Lane {
 public:
  UcxMessageLane(const SlotLayout& layout, const UcxSlots& slots, const UcxMessageFormat& format,
                 uint64_t peer_channel_id, UcxWorker& worker, UcxEndpoint& endpoint);
  ~UcxMessageLane() override;

  std::optional<uint32_t> Acquire() override;
  void FreeUnsent(uint32_t slot) override;
  absl::Status Post(uint32_t slot, const FrameHeader& header) override;
  std::optional<HeldImage> Take() override;
  void Release(const HeldImage& image) override;
  bool HasNews() override;
  void BeforeSleep() override { SendCredits(); }
  void AfterSleep() override {}
  uint64_t rejected() const override { return rejected_; }
  std::string name() const override {
    return endpoint_.MessageTransport() + (format_.split ? " split" : "");
  }

  // Messages of the peer, from the worker's progress. The status is UCX's: in progress keeps
  // `data`.
  ucs_status_t OnFrame(const Envelope& envelope, const std::byte* header, void* data, size_t bytes,
                       const ucp_am_recv_param_t& how);
  ucs_status_t OnPayload(const Envelope& envelope, void* data, size_t bytes,
                         const ucp_am_recv_param_t& how);
  void OnCredits(SlotSet credits);

  // True while UCX uses memory of this lane.
  bool busy() const { return operations_ > 0; }

 private:
  enum class Payload { kAbsent, kComing, kHere };  // of a split frame of the peer's

  struct Slot {  // one of ours, and the peer's of the same number
    // While they are sent.
    std::array<std::byte, kEnvelopeBytes + kHeaderBytes> message_header;
    std::array<std::byte, kEnvelopeBytes> payload_header;
    int sends = 0;  // messages that UCX still reads
    HeldImage arrived;
    uint32_t announced_bytes = 0;  // of the payload, by the first message
    size_t payload_bytes = 0;      // by the second
    Payload payload = Payload::kAbsent;
    AlignedBytes buffer;  // for what must be copied: payload, metadata
    UcxMessageLane* lane = nullptr;
  };

  uint32_t IndexOf(const Slot& slot) const { return static_cast<uint32_t>(&slot - slot_.data()); }
  absl::Status SendFrame(Slot& slot, const FrameHeader& header);
  absl::Status SendPayload(Slot& slot, size_t bytes);
  static ucp_request_param_t SendParameters(ucs_memory_type_t memory, uint32_t flags, Slot* slot);
  absl::Status Sent(Slot& slot, void* request);
  void OnReceived(Slot& slot, ucs_status_t status);
  void SendCredits();
  std::byte* Buffer(Slot& slot);
  std::byte* ArrivingPayload(Slot& slot);
  std::byte* ArrivingBody(Slot& slot);

  const SlotLayout layout_;
  const UcxSlots& slots_;
  const UcxMessageFormat format_;
  const uint64_t peer_channel_id_;
  UcxWorker& worker_;
  UcxEndpoint& endpoint_;
  std::vector<Slot> slot_;
  SlotSet free_;          // ours to fill
  SlotSet sending_ = 0;   // UCX still reads them
  SlotSet at_peer_ = 0;   // posted, no credit yet
  SlotSet occupied_ = 0;  // the peer's frames that are here
  SlotSet credits_ = 0;   // to give back
  std::deque<uint32_t> inbox_;
  std::array<std::byte, kEnvelopeBytes> credit_message_;
  bool credit_message_busy_ = false;
  int operations_ = 0;
  bool news_ = false;
  uint64_t rejected_ = 0;
};

}  // namespace switchyard::transport
