#include "services/transport/ucx_message_lane.h"

#include <bit>
#include <cstring>
#include <utility>

#include "services/transport/little_endian.h"
#include "services/transport/ucx_status.h"

namespace switchyard::transport {

void EncodeEnvelope(const Envelope& envelope, std::byte* bytes) {
  StoreLittleEndian(bytes, envelope.channel_id);
  StoreLittleEndian(bytes + 8, envelope.credits);
  StoreLittleEndian(bytes + 16, envelope.slot);
  StoreLittleEndian(bytes + 20, uint32_t{0});
}

Envelope DecodeEnvelope(const std::byte* bytes) {
  return {.channel_id = LoadLittleEndian<uint64_t>(bytes),
          .credits = LoadLittleEndian<uint64_t>(bytes + 8),
          .slot = LoadLittleEndian<uint32_t>(bytes + 16)};
}

UcxMessageLane::UcxMessageLane(const SlotLayout& layout, std::byte* slots, uint64_t peer_channel_id,
                               UcxWorker& worker, UcxEndpoint& endpoint)
    : layout_(layout),
      slots_(slots),
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

absl::Status UcxMessageLane::Post(uint32_t index, size_t bytes) {
  if (!endpoint_.failure().ok()) {
    FreeUnsent(index);
    return endpoint_.failure();
  }
  Slot& slot = slot_[index];
  const std::byte* const image = slots_ + SlotBytes(layout_) * index;
  EncodeEnvelope(
      {.channel_id = peer_channel_id_, .credits = std::exchange(credits_, 0), .slot = index},
      slot.message_header.data());
  std::memcpy(slot.message_header.data() + kEnvelopeBytes, image, kHeaderBytes);
  at_peer_ |= SlotBit(index);
  const ucp_request_param_t how = {
      .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
      .cb = {.send =
                 [](void* request, ucs_status_t, void* user_data) {
                   Slot& sent = *static_cast<Slot*>(user_data);
                   UcxMessageLane& lane = *sent.lane;
                   lane.sending_ &= ~SlotBit(static_cast<uint32_t>(&sent - lane.slot_.data()));
                   --lane.operations_;
                   lane.news_ = true;
                   ucp_request_free(request);
                 }},
      .user_data = &slot};
  void* const request =
      ucp_am_send_nbx(endpoint_.handle(), kFrameMessage, slot.message_header.data(),
                      slot.message_header.size(), image + kHeaderBytes, bytes - kHeaderBytes, &how);
  if (UCS_PTR_IS_ERR(request)) {
    // The slot and the credits that were on the way cannot be had back: the channel is lost.
    endpoint_.Fail(FromUcx(UCS_PTR_STATUS(request), "send a frame"));
    return endpoint_.failure();
  }
  if (request != nullptr) {
    sending_ |= SlotBit(index);
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
    slot.buffer = AllocateAligned(PayloadBytes(layout_) + layout_.metadata_bytes);
  }
  return slot.buffer.get();
}

ucs_status_t UcxMessageLane::OnFrame(const Envelope& envelope, const std::byte* header, void* data,
                                     size_t bytes, const ucp_am_recv_param_t& how) {
  OnCredits(envelope.credits);
  if (envelope.slot >= layout_.slots || (occupied_ & SlotBit(envelope.slot)) != 0 ||
      bytes > PayloadBytes(layout_) + layout_.metadata_bytes ||
      (how.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    ++rejected_;
    return UCS_OK;
  }
  Slot& slot = slot_[envelope.slot];
  slot.arrived = {.slot = envelope.slot, .body_bytes = bytes};
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
  if (bytes > 0) std::memcpy(Buffer(slot), data, bytes);
  slot.arrived.body = Buffer(slot);
  return UCS_OK;
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
  const uint32_t slot = inbox_.front();
  inbox_.pop_front();
  return slot_[slot].arrived;
}

void UcxMessageLane::Release(const HeldImage& image) {
  if (image.buffer != nullptr) {
    ucp_am_data_release(worker_.handle(), image.buffer);
    slot_[image.slot].arrived.buffer = nullptr;
  }
  occupied_ &= ~SlotBit(image.slot);
  credits_ |= SlotBit(image.slot);
  if (2 * static_cast<uint32_t>(std::popcount(credits_)) >= layout_.slots) SendCredits();
}

bool UcxMessageLane::HasNews() { return std::exchange(news_, false); }

}  // namespace switchyard::transport
