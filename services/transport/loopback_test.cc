#include "services/transport/loopback.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/transport/conformance.h"

namespace switchyard::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RealTimeLoopback : public ConformanceNetwork {
 public:
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    return network_.Start(member, incarnation);
  }

 private:
  LoopbackNetwork network_{{.open_timeout = seconds(1)}};
};

INSTANTIATE_TEST_SUITE_P(Loopback, TransportConformanceTest,
                         testing::Values(ConformanceBackend{
                             .name = "loopback", .lane = "loopback", .make = [] {
                               return std::make_unique<RealTimeLoopback>();
                             }}));

constexpr SlotLayout kLayout{.rows = 4, .row_bytes = 64, .metadata_bytes = 48, .slots = 8};

// Two transports on one thread under a clock moved by hand.
class LoopbackFaultTest : public testing::Test {
 protected:
  explicit LoopbackFaultTest(uint64_t seed = 1) : network_({.clock = &clock_, .seed = seed}) {
    Open(1);
  }

  void Open(uint64_t nonce) {
    to_host_ = *router_->Open(host_->address(), kLayout, nonce);
    to_router_ = *host_->Open(router_->address(), kLayout, nonce);
  }

  // Sends one frame after another and takes what arrives; gives the numbers in order of arrival.
  std::vector<uint64_t> SendMany(uint64_t count) {
    std::vector<uint64_t> arrived;
    for (uint64_t i = 0; i < count; ++i) {
      std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
      while (slot == nullptr) {  // all in flight: time passes
        clock_.Advance(milliseconds(1));
        TakeArrived(arrived);
        slot = to_host_->TryAcquire();
      }
      const FrameHeader header = FillNumbered(*slot, kLayout, i, i % 5);
      EXPECT_TRUE(to_host_->Send(std::move(slot), header).ok());
      TakeArrived(arrived);
    }
    clock_.Advance(seconds(1));
    TakeArrived(arrived);
    return arrived;
  }

  void TakeArrived(std::vector<uint64_t>& arrived) {
    while (const auto frame = to_router_->TryReceive()) {
      EXPECT_TRUE(IsNumbered(*frame, kLayout));
      arrived.push_back(frame->header().batch);
    }
  }

  bool SlotsAreAllFree() {
    std::vector<std::unique_ptr<SendSlot>> slots;
    while (auto slot = to_host_->TryAcquire()) slots.push_back(std::move(slot));
    return slots.size() == kLayout.slots;
  }

  ManualClock clock_;
  LoopbackNetwork network_;
  std::unique_ptr<Transport> router_ = network_.Start(1, 11);
  std::unique_ptr<Transport> host_ = network_.Start(2, 22);
  std::unique_ptr<Channel> to_host_;
  std::unique_ptr<Channel> to_router_;
};

constexpr uint64_t kFrames = 2000;

size_t Distinct(const std::vector<uint64_t>& arrived) {
  return std::set(arrived.begin(), arrived.end()).size();
}

TEST_F(LoopbackFaultTest, DroppedFramesAreMissingAndNothingElse) {
  network_.SetFaults({.drop = 0.1});
  const auto arrived = SendMany(kFrames);
  const uint64_t dropped = network_.faults().dropped;
  EXPECT_GT(dropped, 100u);
  EXPECT_EQ(arrived.size(), kFrames - dropped);
  EXPECT_EQ(Distinct(arrived), arrived.size());
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, DuplicatedFramesArriveTwice) {
  network_.SetFaults({.duplicate = 0.1});
  const auto arrived = SendMany(kFrames);
  const uint64_t duplicated = network_.faults().duplicated;
  EXPECT_GT(duplicated, 100u);
  EXPECT_EQ(arrived.size(), kFrames + duplicated);
  EXPECT_EQ(Distinct(arrived), kFrames);
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, DelayedAndReorderedFramesAllArriveOutOfOrder) {
  for (const FaultRates& rates : {FaultRates{.delay = 0.1}, FaultRates{.reorder = 0.1}}) {
    network_.SetFaults(rates);
    const auto arrived = SendMany(kFrames);
    EXPECT_EQ(arrived.size(), kFrames);
    EXPECT_EQ(Distinct(arrived), kFrames);
    EXPECT_FALSE(std::is_sorted(arrived.begin(), arrived.end()));
    EXPECT_TRUE(SlotsAreAllFree());
  }
  EXPECT_GT(network_.faults().delayed, 100u);
  EXPECT_GT(network_.faults().reordered, 100u);
}

TEST_F(LoopbackFaultTest, TruncatedFramesAreRejectedAndCounted) {
  network_.SetFaults({.truncate = 0.1});
  const auto arrived = SendMany(kFrames);
  const uint64_t truncated = network_.faults().truncated;
  EXPECT_GT(truncated, 100u);
  EXPECT_EQ(arrived.size(), kFrames - truncated);
  EXPECT_EQ(to_router_->rejected_frames(), truncated);
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, AnyDamagedBitIsRejectedAndCounted) {
  network_.SetFaults({.corrupt = 0.2});
  const auto arrived = SendMany(kFrames);
  const uint64_t corrupted = network_.faults().corrupted;
  EXPECT_GT(corrupted, 200u);
  EXPECT_EQ(arrived.size(), kFrames - corrupted);
  EXPECT_EQ(to_router_->rejected_frames(), corrupted);
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, AllFaultsAtOnceLetNothingWrongThrough) {
  network_.SetFaults({.drop = 0.05,
                      .delay = 0.05,
                      .duplicate = 0.05,
                      .reorder = 0.05,
                      .truncate = 0.05,
                      .corrupt = 0.05});
  const auto arrived = SendMany(kFrames);  // checks every byte of what arrives
  const FaultCounts counts = network_.faults();
  EXPECT_LE(arrived.size(), kFrames + counts.duplicated - counts.dropped);
  EXPECT_GE(arrived.size(),
            kFrames + counts.duplicated - counts.dropped - counts.truncated - counts.corrupted);
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, TheSameSeedGivesTheSameFaults) {
  const FaultRates rates{.drop = 0.1, .delay = 0.1, .duplicate = 0.1, .corrupt = 0.1};
  std::map<uint64_t, std::vector<std::vector<uint64_t>>> runs;
  for (uint64_t seed : {5, 5, 6}) {
    class Run : public LoopbackFaultTest {
     public:
      explicit Run(uint64_t seed) : LoopbackFaultTest(seed) {}
      void TestBody() override {}
      std::vector<uint64_t> Go(const FaultRates& rates) {
        network_.SetFaults(rates);
        return SendMany(500);
      }
    };
    runs[seed].push_back(Run(seed).Go(rates));
  }
  EXPECT_EQ(runs[5][0], runs[5][1]);
  EXPECT_NE(runs[5][0], runs[6][0]);
}

TEST_F(LoopbackFaultTest, AKilledMemberIsLostAtOnceAndItsSuccessorIsAnother) {
  network_.Kill(2, 22);
  EXPECT_EQ(to_host_->state(), ChannelState::kLost);
  EXPECT_EQ(to_router_->state(), ChannelState::kLost);
  host_ = network_.Start(2, 23);
  to_host_.reset();
  to_router_.reset();
  Open(2);
  EXPECT_EQ(to_host_->state(), ChannelState::kOpen);
  EXPECT_EQ(SendMany(10).size(), 10u);
}

TEST_F(LoopbackFaultTest, SilenceOfOneDirectionLosesTheChannelOnBothSides) {
  network_.Cut(2, 1);
  clock_.Advance(milliseconds(499));
  EXPECT_EQ(to_host_->state(), ChannelState::kOpen);
  EXPECT_EQ(SendMany(0).size(), 0u);
  EXPECT_EQ(to_host_->state(), ChannelState::kLost) << "a second has passed";
  // What the router sends still arrives, so the host sees it close the channel.
  EXPECT_EQ(to_router_->state(), ChannelState::kLost);
}

TEST_F(LoopbackFaultTest, AShortCutDelaysFramesAndCredits) {
  network_.Cut(1, 2);
  std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
  ASSERT_TRUE(to_host_->Send(std::move(slot), {.batch = 3}).ok());
  EXPECT_EQ(to_router_->TryReceive(), nullptr);
  clock_.Advance(milliseconds(100));
  network_.Heal(1, 2);
  auto frame = to_router_->TryReceive();
  ASSERT_NE(frame, nullptr);
  network_.Cut(2, 1);
  frame.reset();
  EXPECT_FALSE(SlotsAreAllFree());
  network_.Heal(2, 1);
  EXPECT_TRUE(SlotsAreAllFree());
}

TEST_F(LoopbackFaultTest, AWaitSeesTimePass) {
  while (router_->Progress()) {
  }
  network_.Cut(2, 1);
  router_->Progress();
  clock_.Advance(milliseconds(600));
  router_->Wait(clock_.Now() + seconds(60));
  EXPECT_EQ(to_host_->state(), ChannelState::kLost);
}

}  // namespace
}  // namespace switchyard::transport
