#include "services/transport/slot_image.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::transport {
absl::Status CheckLayout(const SlotLayout& layout) {
  if (layout.slots == 0 || layout.slots > kMaxSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot layout: ", layout.slots, " slots, allowed 1 to ", kMaxSlots));
  }
  const size_t payload = PayloadBytes(layout);
  if (payload + layout.metadata_bytes == 0 || payload > kMaxImageBytes ||
      SlotBytes(layout) > kMaxImageBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "slot layout: ", layout.rows, " rows of ", layout.row_bytes, " bytes and ",
        layout.metadata_bytes, " bytes of metadata, allowed 1 to ", kMaxImageBytes, " in all"));
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const SlotLayout& layout, const FrameHeader& header) {
  if (header.rows > layout.rows || header.row_bytes > layout.row_bytes ||
      header.metadata_bytes > layout.metadata_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame of ", header.rows, " rows of ", header.row_bytes, " bytes and ",
                     header.metadata_bytes, " bytes of metadata: its slot holds ", layout.rows,
                     " of ", layout.row_bytes, " and ", layout.metadata_bytes));
  }
  return absl::OkStatus();
}

absl::Status FinishImage(const SlotLayout& layout, FrameHeader& header, bool checksum,
                         std::byte* slot) {
  RETURN_IF_ERROR(CheckCounts(layout, header));
  std::byte* const body = slot + kHeaderBytes;
  std::memmove(body + PayloadBytes(header), SendMetadata(slot, layout).data(),
               header.metadata_bytes);
  header.payload_checksum = checksum ? PayloadChecksum({body, BodyBytes(header)}) : 0;
  EncodeHeader(header, std::span<std::byte, kHeaderBytes>(slot, kHeaderBytes));
  return absl::OkStatus();
}

absl::Status FinishSplit(const SlotLayout& layout, FrameHeader& header, bool checksum,
                         const std::byte* metadata, std::span<std::byte, kHeaderBytes> bytes) {
  RETURN_IF_ERROR(CheckCounts(layout, header));
  header.payload_checksum = checksum ? PayloadChecksum({metadata, header.metadata_bytes}) : 0;
  EncodeHeader(header, bytes);
  return absl::OkStatus();
}

absl::StatusOr<FrameHeader> CheckArrival(const ArrivalRules& rules,
                                         std::span<const std::byte> bytes,
                                         std::optional<size_t> body_bytes) {
  ASSIGN_OR_RETURN(const FrameHeader header, DecodeHeader(bytes));
  if (header.sender != rules.sender || header.sender_incarnation != rules.sender_incarnation) {
    return absl::PermissionDeniedError(absl::StrCat(
        "frame from member ", header.sender, " incarnation ", header.sender_incarnation,
        " on the channel of member ", rules.sender, " incarnation ", rules.sender_incarnation));
  }
  RETURN_IF_ERROR(CheckCounts(rules.layout, header));
  if (header.slot >= rules.layout.slots) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame in slot ", header.slot, " of ", rules.layout.slots));
  }
  if (body_bytes && *body_bytes != BodyBytes(header)) {
    return absl::DataLossError(absl::StrCat(
        "frame with ", *body_bytes, " bytes after the header, which names ", BodyBytes(header)));
  }
  return header;
}

absl::Status CheckBody(const ArrivalRules& rules, const FrameHeader& header,
                       std::span<const std::byte> body) {
  if (rules.checksum && header.payload_checksum != PayloadChecksum(body)) {
    return absl::DataLossError("frame whose payload checksum does not match");
  }
  return absl::OkStatus();
}

}  // namespace switchyard::transport
