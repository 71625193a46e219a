#pragma once

// The lane over UCX active messages. A frame is one message: an envelope and the frame's header as
// the message's header, its body as the data. All messages are eager: over TCP that is at least as
// fast as rendezvous at every size measured, and a receiver keeps no state for a peer that dies
// half-way.

#include <cstdint>
#include <deque>
#include <vector>

#include "services/transport/aligned_bytes.h"
#include "services/transport/lane.h"
#include "services/transport/slot_image.h"
#include "services/transport/ucx_worker.h"

namespace switchyard::transport {

inline constexpr unsigned kFrameMessage = 0;   // envelope, header; body
inline constexpr unsigned kCreditMessage = 1;  // envelope

// What precedes every message. Channel ids are random numbers that the receiver chose and gave to
// the peer that it admitted; whatever names another is dropped.
struct Envelope {
  uint64_t channel_id = 0;
  SlotSet credits = 0;  // slots that the sender gives back
  uint32_t slot = 0;    // of the frame
};
inline constexpr size_t kEnvelopeBytes = 24;  // 4 reserved

void EncodeEnvelope(const Envelope& envelope, std::byte* bytes);
Envelope DecodeEnvelope(const std::byte* bytes);

// Must not outlive worker, endpoint and slots; may be destroyed once the endpoint is closed.
class UcxMessageLane : public Lane {
 public:
  UcxMessageLane(const SlotLayout& layout, std::byte* slots, uint64_t peer_channel_id,
                 UcxWorker& worker, UcxEndpoint& endpoint);
  ~UcxMessageLane() override;

  std::optional<uint32_t> Acquire() override;
  void FreeUnsent(uint32_t slot) override;
  absl::Status Post(uint32_t slot, size_t bytes) override;
  std::optional<HeldImage> Take() override;
  void Release(const HeldImage& image) override;
  bool HasNews() override;
  void BeforeSleep() override { SendCredits(); }
  void AfterSleep() override {}
  uint64_t rejected() const override { return rejected_; }
  std::string name() const override { return endpoint_.MessageTransport(); }

  // Messages of the peer, from the worker's progress. The status is UCX's: in progress keeps
  // `data`.
  ucs_status_t OnFrame(const Envelope& envelope, const std::byte* header, void* data, size_t bytes,
                       const ucp_am_recv_param_t& how);
  void OnCredits(SlotSet credits);

  // True while UCX uses memory of this lane.
  bool busy() const { return operations_ > 0; }

 private:
  struct Slot {  // one of ours, and the peer's of the same number
    std::array<std::byte, kEnvelopeBytes + kHeaderBytes> message_header;  // while it is sent
    HeldImage arrived;
    AlignedBytes buffer;  // for bodies that must be copied
    UcxMessageLane* lane = nullptr;
  };

  void SendCredits();
  std::byte* Buffer(Slot& slot);

  const SlotLayout layout_;
  std::byte* const slots_;
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
