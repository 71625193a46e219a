#include "services/transport/shared_lane.h"

#include <cstring>
#include <thread>

#include "gtest/gtest.h"
#include "services/transport/aligned_bytes.h"

namespace switchyard::transport {
namespace {

constexpr SlotLayout kLayout{.rows = 2, .row_bytes = 64, .slots = 3};

class SharedLaneTest : public testing::Test {
 protected:
  static AlignedBytes Zeroed() {
    AlignedBytes bytes = AllocateAligned(SharedRegion::Bytes(kLayout));
    std::memset(bytes.get(), 0, SharedRegion::Bytes(kLayout));
    return bytes;
  }

  const AlignedBytes near_memory_ = Zeroed();
  const AlignedBytes far_memory_ = Zeroed();
  const SharedRegion near_region_{near_memory_.get(), kLayout};
  const SharedRegion far_region_{far_memory_.get(), kLayout};
  int rings_ = 0;
  const std::unique_ptr<Lane> near_ =
      MakeSharedLane(kLayout, near_region_, far_region_, [this] { ++rings_; });
  const std::unique_ptr<Lane> far_ = MakeSharedLane(kLayout, far_region_, near_region_, [] {});
};

TEST_F(SharedLaneTest, RingsOnlyAPeerThatSleeps) {
  ASSERT_TRUE(near_->Post(*near_->Acquire(), {}).ok());
  EXPECT_EQ(rings_, 0);
  far_->BeforeSleep();
  ASSERT_TRUE(near_->Post(*near_->Acquire(), {}).ok());
  EXPECT_EQ(rings_, 1);
  far_->AfterSleep();
  ASSERT_TRUE(near_->Post(*near_->Acquire(), {}).ok());
  EXPECT_EQ(rings_, 1);
}

TEST_F(SharedLaneTest, TellsOfEachFrameAndCreditOnce) {
  EXPECT_FALSE(far_->HasNews());
  ASSERT_TRUE(near_->Post(*near_->Acquire(), {}).ok());
  EXPECT_TRUE(far_->HasNews());
  EXPECT_FALSE(far_->HasNews());
  far_->Release(*far_->Take());
  EXPECT_TRUE(near_->HasNews());
  EXPECT_FALSE(near_->HasNews());
  EXPECT_FALSE(far_->HasNews());
}

TEST_F(SharedLaneTest, DoorbellsAndCreditsOfAHostilePeerAreRejected) {
  near_region_.doorbell(1).store(uint64_t{1} << 8 | 200);  // no such slot
  EXPECT_FALSE(far_->Take().has_value());
  near_region_.doorbell(2).store(uint64_t{2} << 8 | 1);
  near_region_.doorbell(3).store(uint64_t{3} << 8 | 1);  // held already
  ASSERT_TRUE(far_->Take().has_value());
  EXPECT_FALSE(far_->Take().has_value());
  EXPECT_EQ(far_->rejected(), 2u);

  near_region_.credit(1).store(uint64_t{1} << 8 | 2);  // was never sent
  near_region_.credit(2).store(uint64_t{2} << 8 | 99);
  for (uint32_t i = 0; i < kLayout.slots; ++i) EXPECT_TRUE(far_->Acquire().has_value());
  EXPECT_FALSE(far_->Acquire().has_value());
  EXPECT_EQ(far_->rejected(), 4u);
}

TEST_F(SharedLaneTest, ThreadsHandOverSlotsInOrder) {
  constexpr uint64_t kFrames = 20000;
  std::thread sender([&] {
    for (uint64_t i = 0; i < kFrames; ++i) {
      std::optional<uint32_t> slot;
      while (!(slot = near_->Acquire())) std::this_thread::yield();
      std::memcpy(near_region_.slot(*slot) + kHeaderBytes, &i, sizeof(i));
      EXPECT_TRUE(near_->Post(*slot, {}).ok());
    }
  });
  for (uint64_t i = 0; i < kFrames; ++i) {
    std::optional<HeldImage> image;
    while (!(image = far_->Take())) std::this_thread::yield();
    uint64_t number = 0;
    std::memcpy(&number, image->body, sizeof(number));
    ASSERT_EQ(number, i);
    far_->Release(*image);
  }
  sender.join();
}

}  // namespace
}  // namespace switchyard::transport
