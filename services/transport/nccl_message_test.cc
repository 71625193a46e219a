#include "services/transport/nccl_message.h"

#include <array>

#include "gtest/gtest.h"

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 512, .row_bytes = 8192, .metadata_bytes = 48, .slots = 8};

TEST(NcclMessageTest, AnOfferIsReadAsItWasWritten) {
  LinkOffer offer{.layout = kLayout};
  for (size_t i = 0; i < offer.id.size(); ++i) offer.id[i] = static_cast<std::byte>(3 * i);
  std::array<std::byte, kLinkOfferBytes> bytes;
  EncodeLinkOffer(offer, bytes);
  const auto read = DecodeLinkOffer(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->id, offer.id);
  EXPECT_EQ(read->layout, kLayout);
}

TEST(NcclMessageTest, AnOfferOfAnotherSizeIsRefused) {
  const std::array<std::byte, kLinkOfferBytes + 1> bytes = {};
  for (size_t size : {size_t{0}, kLinkOfferBytes - 1, kLinkOfferBytes + 1}) {
    EXPECT_EQ(DecodeLinkOffer(std::span(bytes).first(size)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(NcclMessageTest, AnAnnouncementEndsTheMetadata) {
  std::array<std::byte, 5 + kAnnouncementBytes> metadata;
  metadata.fill(std::byte{7});
  EncodeAnnouncement({.transfer = uint64_t{1} << 40, .row_bytes = 8192},
                     std::span(metadata).subspan(5));
  const Announcement read = DecodeAnnouncement(metadata);
  EXPECT_EQ(read.transfer, uint64_t{1} << 40);
  EXPECT_EQ(read.row_bytes, 8192u);
  EXPECT_EQ(metadata[4], std::byte{7});
  EXPECT_EQ(metadata.back(), std::byte{0}) << "reserved";
}

TEST(NcclMessageTest, TheChannelOfHeadersHasRoomForMetadataAndOffer) {
  SlotLayout layout = kLayout;
  EXPECT_EQ(HeaderLayout(layout).metadata_bytes, kLinkOfferBytes);
  EXPECT_EQ(HeaderLayout(layout).row_bytes, 0u);
  EXPECT_EQ(HeaderLayout(layout).rows, layout.rows);
  EXPECT_EQ(HeaderLayout(layout).slots, layout.slots);
  layout.metadata_bytes = 1000;
  EXPECT_EQ(HeaderLayout(layout).metadata_bytes, 1000 + kAnnouncementBytes);
}

}  // namespace
}  // namespace switchyard::transport
