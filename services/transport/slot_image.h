#pragma once

// A frame as it stands in a slot and travels: header, payload rows, metadata, without gaps. The
// payload comes first so that it is aligned wherever the image is; the metadata, which a sender
// fills at a fixed place behind the largest payload, moves up behind the rows that are sent.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/transport/frame.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

inline constexpr size_t kImageAlignment = 64;
inline constexpr size_t kMaxImageBytes = size_t{1} << 30;

// Refuses a layout that carries nothing, has more than kMaxSlots slots or exceeds kMaxImageBytes.
absl::Status CheckLayout(const SlotLayout& layout);

// Refuses a frame that names more than a slot of the layout holds.
absl::Status CheckCounts(const SlotLayout& layout, const FrameHeader& header);

inline size_t PayloadBytes(const SlotLayout& layout) {
  return size_t{layout.rows} * layout.row_bytes;
}
inline size_t PayloadBytes(const FrameHeader& header) {
  return size_t{header.rows} * header.row_bytes;
}
inline size_t BodyBytes(const FrameHeader& header) {
  return PayloadBytes(header) + header.metadata_bytes;
}

// Bytes that the image of a full slot occupies, rounded up to kImageAlignment.
inline size_t SlotBytes(const SlotLayout& layout) {
  const size_t bytes = kHeaderBytes + PayloadBytes(layout) + layout.metadata_bytes;
  return (bytes + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
}

// Where a sender writes in a slot of SlotBytes(layout).
inline std::span<std::byte> SendPayload(std::byte* slot, const SlotLayout& layout) {
  return {slot + kHeaderBytes, PayloadBytes(layout)};
}
inline std::span<std::byte> SendMetadata(std::byte* slot, const SlotLayout& layout) {
  return {slot + kHeaderBytes + PayloadBytes(layout), layout.metadata_bytes};
}

// Where a receiver reads, `body` being what follows the header of an image that passed
// CheckArrival.
inline std::span<const std::byte> ReceivedPayload(const std::byte* body,
                                                  const FrameHeader& header) {
  return {body, PayloadBytes(header)};
}
inline std::span<const std::byte> ReceivedMetadata(const std::byte* body,
                                                   const FrameHeader& header) {
  return {body + PayloadBytes(header), header.metadata_bytes};
}

// Turns a filled slot into an image of kHeaderBytes + BodyBytes(header) bytes and completes
// `header`'s checksum (0 without `checksum`). Refuses counts above the layout; the slot is then as
// it was.
absl::Status FinishImage(const SlotLayout& layout, FrameHeader& header, bool checksum,
                         std::byte* slot);

// The same for a frame whose payload travels by itself: nothing moves, the checksum is that of the
// metadata alone, and `bytes` gets the header.
absl::Status FinishSplit(const SlotLayout& layout, FrameHeader& header, bool checksum,
                         const std::byte* metadata, std::span<std::byte, kHeaderBytes> bytes);

// What a channel demands of the frames that arrive on it.
struct ArrivalRules {
  SlotLayout layout;
  uint64_t sender = 0;
  uint64_t sender_incarnation = 0;
  bool checksum = false;  // payload checksum wanted
};

// The header of an arriving frame, once it, its counts and (where known) the number of bytes behind
// it are right.
absl::StatusOr<FrameHeader> CheckArrival(const ArrivalRules& rules,
                                         std::span<const std::byte> header,
                                         std::optional<size_t> body_bytes);

// Checks the payload checksum where the rules ask for it. `body` is what came with the header.
absl::Status CheckBody(const ArrivalRules& rules, const FrameHeader& header,
                       std::span<const std::byte> body);

}  // namespace switchyard::transport
