#include "services/transport/nccl_message.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "services/transport/little_endian.h"

namespace switchyard::transport {

void EncodeLinkOffer(const LinkOffer& offer, std::span<std::byte> bytes) {
  std::memcpy(bytes.data(), offer.id.data(), offer.id.size());
  const std::array values = {offer.layout.rows, offer.layout.row_bytes, offer.layout.metadata_bytes,
                             offer.layout.slots};
  for (size_t i = 0; i < values.size(); ++i) {
    StoreLittleEndian(bytes.data() + offer.id.size() + 4 * i, values[i]);
  }
}

absl::StatusOr<LinkOffer> DecodeLinkOffer(std::span<const std::byte> bytes) {
  if (bytes.size() != kLinkOfferBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a peer's first frame has ", bytes.size(), " bytes of metadata and not the ",
                     kLinkOfferBytes, " of an offer of a link: it does not run --transport nccl"));
  }
  LinkOffer offer;
  std::memcpy(offer.id.data(), bytes.data(), offer.id.size());
  const std::byte* const values = bytes.data() + offer.id.size();
  offer.layout = {.rows = LoadLittleEndian<uint32_t>(values),
                  .row_bytes = LoadLittleEndian<uint32_t>(values + 4),
                  .metadata_bytes = LoadLittleEndian<uint32_t>(values + 8),
                  .slots = LoadLittleEndian<uint32_t>(values + 12)};
  return offer;
}

void EncodeAnnouncement(const Announcement& announcement, std::span<std::byte> bytes) {
  StoreLittleEndian(bytes.data(), announcement.transfer);
  StoreLittleEndian(bytes.data() + 8, announcement.row_bytes);
  StoreLittleEndian(bytes.data() + 12, uint32_t{0});
}

Announcement DecodeAnnouncement(std::span<const std::byte> metadata) {
  const std::byte* const bytes = metadata.last(kAnnouncementBytes).data();
  return {.transfer = LoadLittleEndian<uint64_t>(bytes),
          .row_bytes = LoadLittleEndian<uint32_t>(bytes + 8)};
}

SlotLayout HeaderLayout(const SlotLayout& layout) {
  const size_t metadata = std::max(layout.metadata_bytes + kAnnouncementBytes, kLinkOfferBytes);
  return {.rows = layout.rows,
          .row_bytes = 0,
          .metadata_bytes = static_cast<uint32_t>(metadata),
          .slots = layout.slots};
}

}  // namespace switchyard::transport
