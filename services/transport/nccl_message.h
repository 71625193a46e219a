#pragma once

// What the two sides of a NCCL channel tell each other beside the payload, in the metadata of
// frames of the channel that carries the headers (docs/transport.md).

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/gpu_links.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

// The first frame each way: the link by which its sender will send, and what both must agree on.
struct LinkOffer {
  kernels::GpuLinkId id = {};
  SlotLayout layout;
};
inline constexpr size_t kLinkOfferBytes = kernels::kGpuLinkIdBytes + 16;

void EncodeLinkOffer(const LinkOffer& offer, std::span<std::byte> bytes);
absl::StatusOr<LinkOffer> DecodeLinkOffer(std::span<const std::byte> bytes);

// Ends the metadata of every other frame, whose own header says that its rows have no bytes.
struct Announcement {
  uint64_t transfer = 0;   // how many transfers its sender has started on the link before
  uint32_t row_bytes = 0;  // of the payload that comes by the link
};
inline constexpr size_t kAnnouncementBytes = 16;  // 4 reserved

void EncodeAnnouncement(const Announcement& announcement, std::span<std::byte> bytes);

// Of metadata that was checked to hold at least kAnnouncementBytes.
Announcement DecodeAnnouncement(std::span<const std::byte> metadata);

// The layout of the channel that carries headers and metadata of frames of `layout`.
SlotLayout HeaderLayout(const SlotLayout& layout);

}  // namespace switchyard::transport
