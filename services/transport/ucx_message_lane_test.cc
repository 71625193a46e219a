// What a peer that does not keep to the protocol can do to a lane with split frames.

#include "services/transport/ucx_message_lane.h"

#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/memory.h"

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 16, .row_bytes = 4096, .metadata_bytes = 48, .slots = 4};
constexpr size_t kMetadata = 12;
const UcxOptions kOptions = {
    .lanes = UcxLanes::kTcp,
    .payload_memory = UcxPayloadMemory{
        .source = {.allocate = kernels::AllocateMemory, .release = kernels::ReleaseMemory}}};

// A lane, and a peer that sends what it likes, eagerly or by rendezvous.
class HostilePeerTest : public testing::TestWithParam<uint32_t> {
 protected:
  HostilePeerTest() {
    to_peer_ = worker_->Connect(peer_->address()).value();
    to_lane_ = peer_->Connect(worker_->address()).value();
    lane_ = std::make_unique<UcxMessageLane>(kLayout, *slots_, UcxMessageFormat{.split = true}, 1,
                                             *worker_, *to_peer_);
    EXPECT_TRUE(worker_->Listen(kFrameMessage, &OnFrame, lane_.get()).ok());
    EXPECT_TRUE(worker_->Listen(kPayloadMessage, &OnPayload, lane_.get()).ok());
    EXPECT_TRUE(Until([&] { return to_peer_->Settled() && to_lane_->Settled(); }));
  }
  ~HostilePeerTest() override {
    EXPECT_TRUE(Until([&] {
      return to_peer_->TryClose() && to_lane_->TryClose() && !lane_->busy();
    })) << "something of a refused message is left";
  }

  static ucs_status_t OnFrame(void* lane, const void* header, size_t, void* data, size_t bytes,
                              const ucp_am_recv_param_t* how) {
    const auto* const head = static_cast<const std::byte*>(header);
    return static_cast<UcxMessageLane*>(lane)->OnFrame(DecodeEnvelope(head), head + kEnvelopeBytes,
                                                       data, bytes, *how);
  }
  static ucs_status_t OnPayload(void* lane, const void* header, size_t, void* data, size_t bytes,
                                const ucp_am_recv_param_t* how) {
    return static_cast<UcxMessageLane*>(lane)->OnPayload(
        DecodeEnvelope(static_cast<const std::byte*>(header)), data, bytes, *how);
  }

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + std::chrono::seconds(10);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      worker_->Progress();
      peer_->Progress();
    }
    return true;
  }

  // Sends a message and waits until UCX is done with it, so that the lane has seen it.
  void Send(unsigned id, const Envelope& envelope, size_t header_bytes, std::byte value,
            size_t bytes, uint32_t flags) {
    std::vector<std::byte> header(kEnvelopeBytes + header_bytes);
    EncodeEnvelope(envelope, header.data());
    const std::vector<std::byte> data(bytes, value);
    const ucp_request_param_t how = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = flags};
    void* const sent = ucp_am_send_nbx(to_lane_->handle(), id, header.data(), header.size(),
                                       data.data(), data.size(), &how);
    ASSERT_FALSE(UCS_PTR_IS_ERR(sent));
    if (UCS_PTR_IS_PTR(sent)) {
      EXPECT_TRUE(Until([&] { return ucp_request_check_status(sent) != UCS_INPROGRESS; }));
      ucp_request_free(sent);
    }
  }
  void SendFrame(uint32_t slot, uint32_t payload_bytes, uint32_t flags = UCP_AM_SEND_FLAG_EAGER) {
    Send(kFrameMessage, {.channel_id = 1, .slot = slot, .payload_bytes = payload_bytes},
         kHeaderBytes, std::byte{1}, kMetadata, flags);
  }
  void SendPayload(uint32_t slot, size_t bytes, std::byte value = std::byte{2}) {
    Send(kPayloadMessage, {.channel_id = 1, .slot = slot}, 0, value, bytes, GetParam());
  }

  std::optional<HeldImage> Take() {
    std::optional<HeldImage> image;
    Until([&] { return (image = lane_->Take()).has_value(); });
    return image;
  }
  bool RejectedBecome(uint64_t count) {
    return Until([&] { return lane_->rejected() >= count; }) && lane_->rejected() == count;
  }

  const std::unique_ptr<UcxWorker> worker_ = UcxWorker::Start(kOptions).value();
  const std::unique_ptr<UcxWorker> peer_ = UcxWorker::Start(kOptions).value();
  const std::unique_ptr<UcxSlots> slots_ = UcxSlots::Allocate(*worker_, kOptions, kLayout).value();
  std::unique_ptr<UcxEndpoint> to_peer_;
  std::unique_ptr<UcxEndpoint> to_lane_;
  std::unique_ptr<UcxMessageLane> lane_;
};

TEST_P(HostilePeerTest, PayloadsThatFitNoSlotAreRefused) {
  SendPayload(kLayout.slots, 100);
  SendPayload(~0u, 100);
  SendPayload(0, PayloadBytes(kLayout) + 1);
  SendPayload(0, 4 * PayloadBytes(kLayout));
  EXPECT_TRUE(RejectedBecome(4));
  SendFrame(0, 100);
  SendPayload(0, 100);
  const auto image = Take();
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->payload->size(), 100u);
}

TEST_P(HostilePeerTest, ASecondPayloadNeitherReplacesTheFirstNorWritesIntoAFrameInUse) {
  SendFrame(1, 5000);
  SendPayload(1, 5000, std::byte{3});
  const auto image = Take();
  ASSERT_TRUE(image.has_value());
  SendPayload(1, 5000, std::byte{4});
  EXPECT_TRUE(RejectedBecome(1));
  for (const std::byte value : *image->payload) ASSERT_EQ(value, std::byte{3});
  lane_->Release(*image);
  SendFrame(1, 10);
  SendPayload(1, 10, std::byte{5});
  const auto next = Take();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->payload->front(), std::byte{5});
}

TEST_P(HostilePeerTest, APayloadOfAnotherSizeThanAnnouncedIsSeenInItsSize) {
  SendFrame(0, 7000);
  SendPayload(0, 6000);
  const auto image = Take();
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->payload->size(), 6000u) << "the channel compares it with the header";
  EXPECT_EQ(image->body_bytes, kMetadata);
}

TEST_P(HostilePeerTest, APayloadBeforeItsFrameWaitsForItAndFramesComeInTheirOrder) {
  SendPayload(2, 300);
  SendFrame(3, 400);
  SendFrame(2, 300);
  EXPECT_FALSE(lane_->Take().has_value()) << "the first frame has no payload yet";
  SendPayload(3, 400);
  for (const uint32_t slot : {3u, 2u}) {
    const auto image = Take();
    ASSERT_TRUE(image.has_value());
    EXPECT_EQ(image->slot, slot);
    EXPECT_EQ(image->payload->size(), slot == 3 ? 400u : 300u);
  }
}

TEST_P(HostilePeerTest, MetadataByRendezvousOrInASlotInUseIsRefused) {
  SendFrame(0, 0, UCP_AM_SEND_FLAG_RNDV);
  SendFrame(kLayout.slots, 0);
  EXPECT_TRUE(RejectedBecome(2));
  SendFrame(0, 0);
  SendFrame(0, 0);
  EXPECT_TRUE(RejectedBecome(3));
  ASSERT_TRUE(Take().has_value());
  EXPECT_FALSE(lane_->Take().has_value());
}

INSTANTIATE_TEST_SUITE_P(Ucx, HostilePeerTest,
                         testing::Values(UCP_AM_SEND_FLAG_EAGER, UCP_AM_SEND_FLAG_RNDV),
                         [](const auto& info) {
                           return info.param == UCP_AM_SEND_FLAG_EAGER ? "eager" : "rendezvous";
                         });

}  // namespace
}  // namespace switchyard::transport
