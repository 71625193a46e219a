#include "expert_service/batch_queue.h"

#include <gtest/gtest.h>

#include <thread>

#include "services/transport/loopback.h"

namespace switchyard::expert {
namespace {

using transport::Phase;

constexpr transport::SlotLayout kLayout = {
    .rows = 64, .row_bytes = 8, .metadata_bytes = 64 * 12, .slots = 4};

// A router worker and a host over loopback: real frames with real credits.
class BatchQueueTest : public testing::Test {
 protected:
  BatchQueueTest() {
    auto to_host = router_->Open(host_->address(), kLayout, 7);
    auto to_router = host_->Open(router_->address(), kLayout, 7);
    to_host_ = *std::move(to_host);
    channel_ = *std::move(to_router);
    while (to_host_->state() == transport::ChannelState::kOpening ||
           channel_->state() == transport::ChannelState::kOpening) {
      Move();
    }
  }

  void Move() {
    router_->Progress();
    host_->Progress();
  }

  // Sends a frame and pushes what arrives.
  void Push(Phase phase, uint32_t assignments, uint64_t batch,
            TimePoint expires = TimePoint::max()) {
    auto slot = to_host_->TryAcquire();
    ASSERT_NE(slot, nullptr);
    transport::FrameHeader header;
    header.phase = phase;
    header.batch = batch;
    header.rows = 1;
    header.row_bytes = kLayout.row_bytes;
    header.sender = 1;
    header.sender_incarnation = 1;
    ASSERT_TRUE(to_host_->Send(std::move(slot), header).ok());
    std::unique_ptr<transport::ReceivedFrame> frame;
    while ((frame = channel_->TryReceive()) == nullptr) Move();
    queue_.Push({channel_.get(), std::move(frame), nullptr, assignments, expires});
  }

  std::vector<uint64_t> Take() {
    queue_.TakeBatch(batch_);
    std::vector<uint64_t> numbers;
    for (const WaitingDispatch& dispatch : batch_) {
      numbers.push_back(dispatch.frame->header().batch);
    }
    return numbers;
  }

  transport::LoopbackNetwork network_;
  std::unique_ptr<transport::Transport> router_ = network_.Start(1, 1);
  std::unique_ptr<transport::Transport> host_ = network_.Start(2, 1);
  std::unique_ptr<transport::Channel> to_host_;
  std::unique_ptr<transport::Channel> channel_;
  BatchQueue queue_{100};
  std::vector<WaitingDispatch> batch_;
};

using Numbers = std::vector<uint64_t>;

TEST_F(BatchQueueTest, DecodeGoesBeforePrefill) {
  Push(Phase::kPrefill, 50, 1);
  Push(Phase::kDecode, 2, 2);
  Push(Phase::kDecode, 2, 3);
  EXPECT_EQ(Take(), (Numbers{2, 3}));
  batch_.clear();
  EXPECT_EQ(Take(), Numbers{1});
  batch_.clear();
  EXPECT_TRUE(queue_.empty());
}

TEST_F(BatchQueueTest, PrefillIsPassedOverOnlySoOften) {
  Push(Phase::kPrefill, 50, 100);
  int decode_batches = 0;
  while (true) {
    Push(Phase::kDecode, 2, 1);
    if (Take() == Numbers{100}) break;
    batch_.clear();
    ++decode_batches;
    ASSERT_LT(decode_batches, 10);
  }
  EXPECT_EQ(decode_batches, 4);
}

TEST_F(BatchQueueTest, BatchIsBoundedButALargeDispatchStillGoesAlone) {
  Push(Phase::kPrefill, 300, 1);
  Push(Phase::kPrefill, 60, 2);
  Push(Phase::kPrefill, 60, 3);
  EXPECT_EQ(Take(), Numbers{1});
  batch_.clear();
  EXPECT_EQ(Take(), Numbers{2});
}

TEST_F(BatchQueueTest, WithoutAReplySlotADispatchWaits) {
  std::vector<std::unique_ptr<transport::SendSlot>> taken;
  for (uint32_t i = 0; i < kLayout.slots; ++i) taken.push_back(channel_->TryAcquire());
  Push(Phase::kDecode, 1, 1);
  EXPECT_EQ(Take(), Numbers{});
  EXPECT_FALSE(queue_.empty());
  taken.clear();
  EXPECT_EQ(Take(), Numbers{1});
}

TEST_F(BatchQueueTest, ExpiredDispatchesAreTakenOut) {
  const TimePoint now = Clock::Real().Now();
  Push(Phase::kDecode, 1, 1, now - std::chrono::seconds(1));
  Push(Phase::kPrefill, 1, 2, now + std::chrono::hours(1));
  const auto expired = queue_.TakeExpired(now);
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].frame->header().batch, 1u);
  EXPECT_EQ(Take(), Numbers{2});
}

TEST_F(BatchQueueTest, ADroppedChannelLeavesNothingBehind) {
  Push(Phase::kDecode, 1, 1);
  Push(Phase::kPrefill, 1, 2);
  queue_.DropChannel(channel_.get());
  EXPECT_TRUE(queue_.empty());
}

}  // namespace
}  // namespace switchyard::expert
