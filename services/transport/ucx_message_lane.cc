#include "services/transport/ucx_message_lane.h"

#include <bit>
#include <cstring>
#include <utility>

#include "services/base/status_macros.h"
#include "services/transport/little_endian.h"
#include "services/transport/ucx_status.h"

namespace switchyard::transport {

void EncodeEnvelope(const Envelope& envelope, std::byte* bytes) {
  StoreLittleEndian(bytes, envelope.channel_id);
  StoreLittleEndian(bytes + 8, envelope.credits);
  StoreLittleEndian(bytes + 16, envelope.slot);
  StoreLittleEndian(bytes + 20, envelope.payload_bytes);
}

Envelope DecodeEnvelope(const std::byte* bytes) {
  return {.channel_id = LoadLittleEndian<uint64_t>(bytes),
          .credits = LoadLittleEndian<uint64_t>(bytes + 8),
          .slot = LoadLittleEndian<uint32_t>(bytes + 16),
          .payload_bytes = LoadLittleEndian<uint32_t>(bytes + 20)};
}

UcxMessageLane::UcxMessageLane(const SlotLayout& layout, const UcxSlots& slots,
                               const UcxMessageFormat& format, uint64_t peer_channel_id,
                               UcxWorker& worker, UcxEndpoint& endpoint)
    : layout_(layout),
      slots_(slots),
      format_(format),
      peer_channel_id_(peer_channel_id),
      worker_(worker),
      endpoint_(endpoint),
      slot_(layout.slots),
      free_(layout.slots == kMaxSlots ? ~SlotSet{0} : SlotBit(layout.slots) - 1) {
  for (Slot& slot : slot_) slot.lane = this;
}

UcxMessageLane::~UcxMessageLane() {
  for (const Slot& slot : slot_) {
    if (slot.arrived.buffer != nullptr) {
      ucp_am_data_release(worker_.handle(), slot.arrived.buffer);
    }
  }
}

std::optional<uint32_t> UcxMessageLane::Acquire() {
  const SlotSet ready = free_ & ~sending_;
  if (ready == 0) return std::nullopt;
  const auto slot = static_cast<uint32_t>(std::countr_zero(ready));
  free_ &= ~SlotBit(slot);
  return slot;
}

void UcxMessageLane::FreeUnsent(uint32_t slot) { free_ |= SlotBit(slot); }

absl::Status UcxMessageLane::Post(uint32_t index, const FrameHeader& header) {
  if (!endpoint_.failure().ok()) {
    FreeUnsent(index);
    return endpoint_.failure();
  }
  at_peer_ |= SlotBit(index);
  const size_t payload_bytes = format_.split ? PayloadBytes(header) : 0;
  RETURN_IF_ERROR(SendFrame(slot_[index], header));
  return payload_bytes == 0 ? absl::OkStatus() : SendPayload(slot_[index], payload_bytes);
}

absl::Status UcxMessageLane::SendFrame(Slot& slot, const FrameHeader& header) {
  const uint32_t index = IndexOf(slot);
  const std::byte* const image = slots_.image(index);
  const std::span<const std::byte> body = format_.split
                                              ? slots_.metadata(index).first(header.metadata_bytes)
                                              : std::span(image + kHeaderBytes, BodyBytes(header));
  EncodeEnvelope({.channel_id = peer_channel_id_,
                  .credits = std::exchange(credits_, 0),
                  .slot = index,
                  .payload_bytes = format_.split ? static_cast<uint32_t>(PayloadBytes(header)) : 0},
                 slot.message_header.data());
  std::memcpy(slot.message_header.data() + kEnvelopeBytes, image, kHeaderBytes);
  const ucp_request_param_t how = SendParameters(UCS_MEMORY_TYPE_HOST, 0, &slot);
  return Sent(slot, ucp_am_send_nbx(endpoint_.handle(), kFrameMessage, slot.message_header.data(),
                                    slot.message_header.size(), body.data(), body.size(), &how));
}

absl::Status UcxMessageLane::SendPayload(Slot& slot, size_t bytes) {
  const uint32_t index = IndexOf(slot);
  EncodeEnvelope({.channel_id = peer_channel_id_, .slot = index}, slot.payload_header.data());
  const ucp_request_param_t how = SendParameters(
      slots_.memory_type(),
      bytes < format_.rendezvous_from ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV, &slot);
  return Sent(
      slot, ucp_am_send_nbx(endpoint_.handle(), kPayloadMessage, slot.payload_header.data(),
                            slot.payload_header.size(), slots_.payload(index).data(), bytes, &how));
}

ucp_request_param_t UcxMessageLane::SendParameters(ucs_memory_type_t memory, uint32_t flags,
                                                   Slot* slot) {
  return {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                          UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
          .flags = flags,
          .cb = {.send =
                     [](void* request, ucs_status_t, void* user_data) {
                       Slot& sent = *static_cast<Slot*>(user_data);
                       UcxMessageLane& lane = *sent.lane;
                       if (--sent.sends == 0) lane.sending_ &= ~SlotBit(lane.IndexOf(sent));
                       --lane.operations_;
                       lane.news_ = true;
                       ucp_request_free(request);
                     }},
          .user_data = slot,
          .memory_type = memory};
}

absl::Status UcxMessageLane::Sent(Slot& slot, void* request) {
  if (UCS_PTR_IS_ERR(request)) {
    // The slot and the credits that were on the way cannot be had back: the channel is lost.
    endpoint_.Fail(FromUcx(UCS_PTR_STATUS(request), "send a frame"));
    return endpoint_.failure();
  }
  if (request != nullptr) {
    sending_ |= SlotBit(IndexOf(slot));
    ++slot.sends;
    ++operations_;
  }
  return absl::OkStatus();
}

// Credits mostly ride on frames; alone they cost a message, so they go when the peer might run out
// of slots, or when this side is about to sleep.
void UcxMessageLane::SendCredits() {
  if (credits_ == 0 || credit_message_busy_ || !endpoint_.failure().ok()) return;
  EncodeEnvelope({.channel_id = peer_channel_id_, .credits = std::exchange(credits_, 0)},
                 credit_message_.data());
  const ucp_request_param_t how = {
      .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
      .cb = {.send =
                 [](void* request, ucs_status_t, void* user_data) {
                   auto& lane = *static_cast<UcxMessageLane*>(user_data);
                   lane.credit_message_busy_ = false;
                   --lane.operations_;
                   ucp_request_free(request);
                   lane.SendCredits();
                 }},
      .user_data = this};
  void* const request = ucp_am_send_nbx(endpoint_.handle(), kCreditMessage, credit_message_.data(),
                                        credit_message_.size(), nullptr, 0, &how);
  if (UCS_PTR_IS_ERR(request)) {
    endpoint_.Fail(FromUcx(UCS_PTR_STATUS(request), "send credits"));
  } else if (request != nullptr) {
    credit_message_busy_ = true;
    ++operations_;
  }
}

std::byte* UcxMessageLane::Buffer(Slot& slot) {
  if (slot.buffer == nullptr) {
    const size_t payload = slots_.has_payload_memory() ? 0 : PayloadBytes(layout_);
    slot.buffer = AllocateAligned(payload + layout_.metadata_bytes);
  }
  return slot.buffer.get();
}

std::byte* UcxMessageLane::ArrivingPayload(Slot& slot) {
  return slots_.has_payload_memory() ? slots_.arriving_payload(IndexOf(slot)) : Buffer(slot);
}

// Where a body goes that must be copied: metadata alone stands behind the payload.
std::byte* UcxMessageLane::ArrivingBody(Slot& slot) {
  const bool behind = format_.split && !slots_.has_payload_memory();
  return Buffer(slot) + (behind ? PayloadBytes(layout_) : 0);
}

ucs_status_t UcxMessageLane::OnFrame(const Envelope& envelope, const std::byte* header, void* data,
                                     size_t bytes, const ucp_am_recv_param_t& how) {
  OnCredits(envelope.credits);
  const size_t most = layout_.metadata_bytes + (format_.split ? 0 : PayloadBytes(layout_));
  if (envelope.slot >= layout_.slots || (occupied_ & SlotBit(envelope.slot)) != 0 || bytes > most ||
      (how.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    ++rejected_;
    return UCS_OK;
  }
  Slot& slot = slot_[envelope.slot];
  slot.arrived = {.slot = envelope.slot, .body_bytes = bytes};
  slot.announced_bytes = format_.split ? envelope.payload_bytes : 0;
  std::memcpy(slot.arrived.header.data(), header, kHeaderBytes);
  occupied_ |= SlotBit(envelope.slot);
  inbox_.push_back(envelope.slot);
  news_ = true;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % kImageAlignment == 0;
  if ((how.recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0 && aligned) {
    slot.arrived.body = static_cast<const std::byte*>(data);
    slot.arrived.buffer = data;
    return UCS_INPROGRESS;
  }
  if (bytes > 0) std::memcpy(ArrivingBody(slot), data, bytes);
  slot.arrived.body = ArrivingBody(slot);
  return UCS_OK;
}

ucs_status_t UcxMessageLane::OnPayload(const Envelope& envelope, void* data, size_t bytes,
                                       const ucp_am_recv_param_t& how) {
  if (!format_.split || envelope.slot >= layout_.slots || bytes == 0 ||
      bytes > PayloadBytes(layout_) || slot_[envelope.slot].payload != Payload::kAbsent) {
    ++rejected_;
    return UCS_OK;
  }
  Slot& slot = slot_[envelope.slot];
  slot.payload = Payload::kComing;
  slot.payload_bytes = bytes;
  if ((how.recv_attr & (UCP_AM_RECV_ATTR_FLAG_RNDV | UCP_AM_RECV_ATTR_FLAG_DATA)) == 0) {
    std::memcpy(ArrivingPayload(slot), data, bytes);
    OnReceived(slot, UCS_OK);
    return UCS_OK;
  }
  const ucp_request_param_t parameters = {
      .op_attr_mask =
          UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
      .cb = {.recv_am =
                 [](void* request, ucs_status_t status, size_t, void* user_data) {
                   Slot& received = *static_cast<Slot*>(user_data);
                   --received.lane->operations_;
                   received.lane->OnReceived(received, status);
                   ucp_request_free(request);
                 }},
      .user_data = &slot,
      .memory_type = slots_.memory_type()};
  void* const request =
      ucp_am_recv_data_nbx(worker_.handle(), data, ArrivingPayload(slot), bytes, &parameters);
  if (UCS_PTR_IS_PTR(request)) {
    ++operations_;
  } else {
    OnReceived(slot, UCS_PTR_STATUS(request));
  }
  return UCS_INPROGRESS;  // UCX owns the descriptor
}

void UcxMessageLane::OnReceived(Slot& slot, ucs_status_t status) {
  news_ = true;
  if (status == UCS_OK) {
    slot.payload = Payload::kHere;
  } else {
    endpoint_.Fail(FromUcx(status, "receive a payload"));  // the frame never becomes complete
  }
}

void UcxMessageLane::OnCredits(SlotSet credits) {
  if ((credits & ~at_peer_) != 0) ++rejected_;
  credits &= at_peer_;
  at_peer_ &= ~credits;
  free_ |= credits;
  news_ |= credits != 0;
}

std::optional<HeldImage> UcxMessageLane::Take() {
  if (inbox_.empty()) return std::nullopt;
  Slot& slot = slot_[inbox_.front()];
  if (slot.announced_bytes > 0 && slot.payload != Payload::kHere) return std::nullopt;
  inbox_.pop_front();
  if (format_.split) {
    slot.arrived.payload = {ArrivingPayload(slot),
                            slot.announced_bytes > 0 ? slot.payload_bytes : 0};
  }
  return slot.arrived;
}

void UcxMessageLane::Release(const HeldImage& image) {
  Slot& slot = slot_[image.slot];
  if (image.buffer != nullptr) {
    ucp_am_data_release(worker_.handle(), image.buffer);
    slot.arrived.buffer = nullptr;
  }
  if (slot.payload == Payload::kHere) slot.payload = Payload::kAbsent;
  occupied_ &= ~SlotBit(image.slot);
  credits_ |= SlotBit(image.slot);
  if (2 * static_cast<uint32_t>(std::popcount(credits_)) >= layout_.slots) SendCredits();
}

bool UcxMessageLane::HasNews() { return std::exchange(news_, false); }

}  // namespace switchyard::transport
