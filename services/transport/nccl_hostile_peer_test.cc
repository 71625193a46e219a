// A NCCL channel whose peer speaks by a bare loopback channel, and says what no peer should.

#include <functional>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/cuda/fake_gpu_links.h"
#include "services/transport/loopback.h"
#include "services/transport/nccl.h"
#include "services/transport/nccl_message.h"

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 4, .row_bytes = 64, .metadata_bytes = 200, .slots = 4};

class NcclHostilePeerTest : public testing::Test {
 protected:
  NcclHostilePeerTest()
      : ours_(MakeNcclTransport(network_.Start(1, 11), kernels::MakeFakeGpuLinks(), {})),
        theirs_(network_.Start(2, 22)),
        channel_(*ours_->Open(theirs_->address(), kLayout, 1)),
        peer_(*theirs_->Open(ours_->address(), HeaderLayout(kLayout), 1)) {}

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + std::chrono::seconds(10);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      ours_->Wait(Clock::Real().Now() + std::chrono::milliseconds(1));
    }
    return true;
  }

  // Does what a peer should, until the channel is open.
  void OpenProperly() {
    std::unique_ptr<ReceivedFrame> frame;
    ASSERT_TRUE(Until([&] { return (frame = peer_->TryReceive()) != nullptr; }));
    const auto offer = DecodeLinkOffer(frame->metadata());
    ASSERT_TRUE(offer.ok()) << offer.status();
    incoming_ = *links_->Connect(offer->id, kernels::GpuLinkEnd::kReceiver);
    frame.reset();
    const kernels::GpuLinkId id = *links_->NewId();
    outgoing_ = *links_->Connect(id, kernels::GpuLinkEnd::kSender);
    std::unique_ptr<SendSlot> slot = peer_->TryAcquire();
    ASSERT_NE(slot, nullptr);
    EncodeLinkOffer({.id = id, .layout = kLayout}, slot->metadata());
    ASSERT_TRUE(peer_->Send(std::move(slot), {.metadata_bytes = kLinkOfferBytes}).ok());
    ASSERT_TRUE(Until([&] { return channel_->state() == ChannelState::kOpen; }));
  }

  // Says something by the channel of headers, after which ours must be lost.
  void ExpectLostAfter(const FrameHeader& header, const Announcement& announcement,
                       absl::StatusCode code) {
    std::unique_ptr<SendSlot> slot = peer_->TryAcquire();
    ASSERT_NE(slot, nullptr);
    if (header.metadata_bytes >= kAnnouncementBytes) {
      EncodeAnnouncement(announcement,
                         slot->metadata().subspan(header.metadata_bytes - kAnnouncementBytes));
    }
    ASSERT_TRUE(peer_->Send(std::move(slot), header).ok());
    EXPECT_TRUE(Until([&] { return channel_->state() == ChannelState::kLost; }));
    EXPECT_EQ(channel_->status().code(), code) << channel_->status();
    EXPECT_EQ(channel_->TryReceive(), nullptr);
    EXPECT_TRUE(Until([&] { return peer_->state() == ChannelState::kLost; }));
  }

  LoopbackNetwork network_;
  const std::unique_ptr<kernels::GpuLinks> links_ = kernels::MakeFakeGpuLinks();
  std::unique_ptr<Transport> ours_;
  std::unique_ptr<Transport> theirs_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Channel> peer_;
  std::unique_ptr<kernels::GpuLink> incoming_;
  std::unique_ptr<kernels::GpuLink> outgoing_;
};

TEST_F(NcclHostilePeerTest, AFirstFrameThatOffersNoLink) {
  ASSERT_TRUE(Until([&] { return peer_->state() == ChannelState::kOpen; }));
  ExpectLostAfter({.metadata_bytes = 20}, {}, absl::StatusCode::kInvalidArgument);
}

TEST_F(NcclHostilePeerTest, RowsThatDoNotFitTheSlot) {
  OpenProperly();
  ExpectLostAfter({.rows = 4, .metadata_bytes = kAnnouncementBytes},
                  {.row_bytes = kLayout.row_bytes + 1}, absl::StatusCode::kInvalidArgument);
}

TEST_F(NcclHostilePeerTest, AFrameThatAnnouncesNothing) {
  OpenProperly();
  const auto least = static_cast<uint32_t>(kAnnouncementBytes);
  ExpectLostAfter({.rows = 1, .metadata_bytes = least - 1}, {}, absl::StatusCode::kInvalidArgument);
}

TEST_F(NcclHostilePeerTest, ATransferOutOfTurn) {
  OpenProperly();
  ExpectLostAfter({.rows = 1, .metadata_bytes = kAnnouncementBytes},
                  {.transfer = 1, .row_bytes = 64}, absl::StatusCode::kDataLoss);
}

// A size that the peer does not send is NCCL's to find.
TEST_F(NcclHostilePeerTest, ATransferOfAnotherSizeThanAnnounced) {
  OpenProperly();
  const auto memory = *links_->Allocate(64);
  ASSERT_TRUE(outgoing_->Start(memory.get(), 64).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(outgoing_->Finished().ok());
  ExpectLostAfter({.rows = 1, .metadata_bytes = kAnnouncementBytes}, {.row_bytes = 32},
                  absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace switchyard::transport
