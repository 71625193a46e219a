#include "services/transport/conformance.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

namespace switchyard::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TimePoint In(Duration duration) { return Clock::Real().Now() + duration; }

std::byte NumberedByte(uint64_t number, size_t index) {
  return static_cast<std::byte>((number * 2654435761u + index * 40503u) >> 7);
}

// Sends `sends` numbered frames and receives `receives`, checking order and content; then drives
// the transport until the other party is done too, because frames on their way still need the
// sender.
class Party {
 public:
  Party(Transport& transport, Channel& channel, std::atomic<int>& busy)
      : transport_(transport), channel_(channel), busy_(busy) {
    ++busy_;
  }

  void Run(uint64_t sends, uint64_t receives) {
    const TimePoint deadline = In(seconds(60));
    while ((sent_ < sends || received_ < receives) && Clock::Real().Now() < deadline) {
      const bool moved = SendSome(sends) | ReceiveSome();
      if (!moved) transport_.Wait(In(milliseconds(200)));
    }
    EXPECT_EQ(sent_, sends);
    EXPECT_EQ(received_, receives);
    --busy_;
    while (busy_ > 0) transport_.Wait(In(milliseconds(1)));
  }

 private:
  bool SendSome(uint64_t sends) {
    bool moved = false;
    while (sent_ < sends) {
      std::unique_ptr<SendSlot> slot = channel_.TryAcquire();
      if (slot == nullptr) break;
      const auto rows = static_cast<uint32_t>(sent_ * 7 % (channel_.layout().rows + 1));
      const FrameHeader header = FillNumbered(*slot, channel_.layout(), sent_, rows);
      EXPECT_TRUE(channel_.Send(std::move(slot), header).ok());
      ++sent_;
      moved = true;
    }
    return moved;
  }

  bool ReceiveSome() {
    bool moved = false;
    while (std::unique_ptr<ReceivedFrame> frame = channel_.TryReceive()) {
      EXPECT_EQ(frame->header().batch, received_);
      EXPECT_TRUE(IsNumbered(*frame, channel_.layout()));
      ++received_;
      moved = true;
    }
    return moved;
  }

  Transport& transport_;
  Channel& channel_;
  std::atomic<int>& busy_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace

FrameHeader FillNumbered(SendSlot& slot, const SlotLayout& layout, uint64_t number, uint32_t rows) {
  FrameHeader header{.batch = number,
                     .layer = 7,
                     .rows = rows,
                     .row_bytes = layout.row_bytes,
                     .metadata_bytes = layout.metadata_bytes == 0
                                           ? 0
                                           : static_cast<uint32_t>(number % layout.metadata_bytes)};
  const std::span<std::byte> payload = slot.payload();
  for (size_t i = 0; i < size_t{rows} * layout.row_bytes; ++i) payload[i] = NumberedByte(number, i);
  const std::span<std::byte> metadata = slot.metadata();
  for (size_t i = 0; i < header.metadata_bytes; ++i) metadata[i] = NumberedByte(~number, i);
  return header;
}

testing::AssertionResult IsNumbered(const ReceivedFrame& frame, const SlotLayout& layout) {
  const FrameHeader& header = frame.header();
  if (frame.payload().size() != size_t{header.rows} * layout.row_bytes ||
      frame.metadata().size() != header.metadata_bytes) {
    return testing::AssertionFailure() << "frame " << header.batch << " has the wrong size";
  }
  if (reinterpret_cast<uintptr_t>(frame.payload().data()) % 64 != 0) {
    return testing::AssertionFailure() << "payload of frame " << header.batch << " is not aligned";
  }
  for (size_t i = 0; i < frame.payload().size(); ++i) {
    if (frame.payload()[i] != NumberedByte(header.batch, i)) {
      return testing::AssertionFailure() << "payload byte " << i << " of frame " << header.batch;
    }
  }
  for (size_t i = 0; i < frame.metadata().size(); ++i) {
    if (frame.metadata()[i] != NumberedByte(~header.batch, i)) {
      return testing::AssertionFailure() << "metadata byte " << i << " of frame " << header.batch;
    }
  }
  return testing::AssertionSuccess();
}

TransportConformanceTest::TransportConformanceTest()
    : network_(GetParam().make()), router_(network_->Start(1, 11)), host_(network_->Start(2, 22)) {}

void TransportConformanceTest::OpenPair(const SlotLayout& layout, uint64_t nonce) {
  auto to_host = router_->Open(host_->address(), layout, nonce);
  ASSERT_TRUE(to_host.ok()) << to_host.status();
  auto to_router = host_->Open(router_->address(), layout, nonce);
  ASSERT_TRUE(to_router.ok()) << to_router.status();
  to_host_ = *std::move(to_host);
  to_router_ = *std::move(to_router);
  ASSERT_TRUE(Until([&] {
    return to_host_->state() != ChannelState::kOpening &&
           to_router_->state() != ChannelState::kOpening;
  }));
  ASSERT_EQ(to_host_->state(), ChannelState::kOpen) << to_host_->status();
  ASSERT_EQ(to_router_->state(), ChannelState::kOpen) << to_router_->status();
}

bool TransportConformanceTest::Until(const std::function<bool()>& condition) {
  const TimePoint deadline = In(seconds(10));
  while (!condition()) {
    if (Clock::Real().Now() >= deadline) return false;
    if (router_ != nullptr) router_->Wait(In(milliseconds(1)));
    if (host_ != nullptr) host_->Wait(In(milliseconds(1)));
  }
  return true;
}

std::unique_ptr<ReceivedFrame> TransportConformanceTest::Receive(Channel& channel) {
  std::unique_ptr<ReceivedFrame> frame;
  Until([&] { return (frame = channel.TryReceive()) != nullptr; });
  return frame;
}

void TransportConformanceTest::SendNumbered(Channel& channel, uint64_t number, uint32_t rows) {
  std::unique_ptr<SendSlot> slot;
  ASSERT_TRUE(Until([&] { return (slot = channel.TryAcquire()) != nullptr; }));
  const FrameHeader header = FillNumbered(*slot, channel.layout(), number, rows);
  const absl::Status sent = channel.Send(std::move(slot), header);
  ASSERT_TRUE(sent.ok()) << sent;
}

TEST_P(TransportConformanceTest, AChannelNamesItsPeerItsLayoutAndItsLane) {
  OpenPair();
  EXPECT_EQ(to_host_->peer().member, 2u);
  EXPECT_EQ(to_router_->peer().incarnation, 11u);
  EXPECT_EQ(to_host_->layout(), kLayout);
  EXPECT_EQ(to_host_->lane(), GetParam().lane);
  EXPECT_EQ(to_router_->lane(), GetParam().lane);
  EXPECT_TRUE(to_host_->status().ok());
}

TEST_P(TransportConformanceTest, AFrameArrivesAsItWasSent) {
  OpenPair();
  std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
  ASSERT_NE(slot, nullptr);
  FrameHeader header = FillNumbered(*slot, kLayout, 150, 3);
  header.phase = Phase::kPrefill;
  header.weights_version = 99;
  ASSERT_TRUE(to_host_->Send(std::move(slot), header).ok());
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  EXPECT_TRUE(IsNumbered(*frame, kLayout));
  EXPECT_EQ(frame->header().sender, 1u);
  EXPECT_EQ(frame->header().sender_incarnation, 11u);
  EXPECT_EQ(frame->header().phase, Phase::kPrefill);
  EXPECT_EQ(frame->header().weights_version, 99u);
  EXPECT_EQ(to_router_->TryReceive(), nullptr);
}

TEST_P(TransportConformanceTest, AFrameMayBeEmptyOrFull) {
  OpenPair();
  SendNumbered(*to_host_, 0, 0);
  SendNumbered(*to_host_, kLayout.metadata_bytes - 1, kLayout.rows);
  for (uint32_t rows : {0u, kLayout.rows}) {
    const auto frame = Receive(*to_router_);
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->header().rows, rows);
    EXPECT_TRUE(IsNumbered(*frame, kLayout));
  }
}

TEST_P(TransportConformanceTest, APeerWithAnotherNonceIsRefused) {
  auto to_host = router_->Open(host_->address(), kLayout, kNonce);
  auto to_router = host_->Open(router_->address(), kLayout, kNonce + 1);
  ASSERT_TRUE(to_host.ok() && to_router.ok());
  ASSERT_TRUE(Until([&] {
    return (*to_host)->state() == ChannelState::kLost &&
           (*to_router)->state() == ChannelState::kLost;
  }));
  EXPECT_FALSE((*to_host)->status().ok());
  EXPECT_EQ((*to_host)->TryAcquire(), nullptr);
}

TEST_P(TransportConformanceTest, AnotherIncarnationIsRefused) {
  PeerAddress stale = host_->address();
  stale.incarnation -= 1;
  auto to_host = router_->Open(stale, kLayout, kNonce);
  auto to_router = host_->Open(router_->address(), kLayout, kNonce);
  ASSERT_TRUE(to_host.ok() && to_router.ok());
  EXPECT_TRUE(Until([&] {
    return (*to_host)->state() == ChannelState::kLost &&
           (*to_router)->state() == ChannelState::kLost;
  }));
}

TEST_P(TransportConformanceTest, AnotherLayoutIsRefused) {
  SlotLayout other = kLayout;
  other.rows += 1;
  auto to_host = router_->Open(host_->address(), kLayout, kNonce);
  auto to_router = host_->Open(router_->address(), other, kNonce);
  ASSERT_TRUE(to_host.ok() && to_router.ok());
  EXPECT_TRUE(Until([&] {
    return (*to_host)->state() == ChannelState::kLost &&
           (*to_router)->state() == ChannelState::kLost;
  }));
}

TEST_P(TransportConformanceTest, AnImpossibleLayoutIsRefused) {
  for (const SlotLayout& layout :
       {SlotLayout{.rows = 8, .row_bytes = 256, .slots = 0}, SlotLayout{.slots = 4},
        SlotLayout{.rows = 8, .row_bytes = 256, .slots = 65},
        SlotLayout{.rows = ~0u, .row_bytes = ~0u, .metadata_bytes = ~0u, .slots = 1}}) {
    EXPECT_EQ(router_->Open(host_->address(), layout, kNonce).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(TransportConformanceTest, APeerThatNeverOpensIsLost) {
  auto to_host = router_->Open(host_->address(), kLayout, kNonce);
  ASSERT_TRUE(to_host.ok());
  EXPECT_EQ((*to_host)->state(), ChannelState::kOpening);
  EXPECT_EQ((*to_host)->TryAcquire(), nullptr);
  EXPECT_TRUE(Until([&] { return (*to_host)->state() == ChannelState::kLost; }));
}

TEST_P(TransportConformanceTest, SlotsAreCredits) {
  OpenPair();
  for (uint64_t i = 0; i < kLayout.slots; ++i) SendNumbered(*to_host_, i, 1);
  EXPECT_EQ(to_host_->TryAcquire(), nullptr);
  std::vector<std::unique_ptr<ReceivedFrame>> held;
  for (uint64_t i = 0; i < kLayout.slots; ++i) {
    held.push_back(Receive(*to_router_));
    ASSERT_NE(held.back(), nullptr);
  }
  EXPECT_EQ(to_host_->TryAcquire(), nullptr) << "the receiver has not let go of anything";
  held.erase(held.begin() + 2);  // in any order
  std::unique_ptr<SendSlot> slot;
  ASSERT_TRUE(Until([&] { return (slot = to_host_->TryAcquire()) != nullptr; }));
  EXPECT_EQ(to_host_->TryAcquire(), nullptr);
  ASSERT_TRUE(to_host_->Send(std::move(slot), {.batch = 4}).ok());
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->header().batch, 4u);
  for (const auto& still : held) EXPECT_TRUE(IsNumbered(*still, kLayout));
}

TEST_P(TransportConformanceTest, ASlotThatIsNotSentIsFreeAgain) {
  OpenPair();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<SendSlot>> slots;
    for (uint32_t i = 0; i < kLayout.slots; ++i) {
      slots.push_back(to_host_->TryAcquire());
      ASSERT_NE(slots.back(), nullptr);
    }
    EXPECT_EQ(to_host_->TryAcquire(), nullptr);
  }
}

TEST_P(TransportConformanceTest, CountsAboveTheLayoutAreNotSent) {
  OpenPair();
  for (const FrameHeader& header :
       {FrameHeader{.rows = kLayout.rows + 1, .row_bytes = kLayout.row_bytes},
        FrameHeader{.rows = 1, .row_bytes = kLayout.row_bytes + 1},
        FrameHeader{.metadata_bytes = kLayout.metadata_bytes + 1}}) {
    for (uint32_t i = 0; i <= kLayout.slots; ++i) {  // and the slot comes back each time
      std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
      ASSERT_NE(slot, nullptr);
      EXPECT_EQ(to_host_->Send(std::move(slot), header).code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_P(TransportConformanceTest, ManyFramesBothWaysBetweenThreadsStayInOrder) {
  OpenPair();
  std::atomic<int> busy = 0;
  Party router_party(*router_, *to_host_, busy);
  Party host_party(*host_, *to_router_, busy);
  std::thread host([&] { host_party.Run(5000, 5000); });
  router_party.Run(5000, 5000);
  host.join();
  EXPECT_EQ(to_host_->rejected_frames() + to_router_->rejected_frames(), 0u);
}

TEST_P(TransportConformanceTest, LargePayloadsArriveWhole) {
  OpenPair({.rows = 1024, .row_bytes = 8192, .metadata_bytes = 12 * 1024, .slots = 2});
  std::atomic<int> busy = 0;
  Party router_party(*router_, *to_host_, busy);
  Party host_party(*host_, *to_router_, busy);
  std::thread host([&] { host_party.Run(3, 12); });
  router_party.Run(12, 3);
  host.join();
}

TEST_P(TransportConformanceTest, TwoChannelsBetweenTwoTransportsAreSeparate) {
  OpenPair();
  const auto first_to_host = std::move(to_host_);
  const auto first_to_router = std::move(to_router_);
  OpenPair(kLayout, kNonce + 1);
  SendNumbered(*first_to_host, 1, 1);
  SendNumbered(*to_host_, 2, 2);
  const auto second = Receive(*to_router_);
  const auto first = Receive(*first_to_router);
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(first->header().batch, 1u);
  EXPECT_EQ(second->header().batch, 2u);
  EXPECT_EQ(to_router_->TryReceive(), nullptr);
}

TEST_P(TransportConformanceTest, WakeFromAnotherThreadEndsAWait) {
  OpenPair();
  while (router_->Progress()) {
  }
  // Before and during the wait.
  router_->Wake();
  router_->Wait(In(seconds(60)));
  std::thread waker([&] {
    std::this_thread::sleep_for(milliseconds(20));
    router_->Wake();
  });
  router_->Wait(In(seconds(60)));
  waker.join();
}

TEST_P(TransportConformanceTest, AFrameAndACreditEndAWait) {
  OpenPair();
  std::atomic<bool> acquired = false;
  std::thread host([&] {
    std::unique_ptr<ReceivedFrame> frame;
    const TimePoint deadline = In(seconds(60));
    while ((frame = to_router_->TryReceive()) == nullptr && Clock::Real().Now() < deadline) {
      host_->Wait(deadline);
    }
    EXPECT_LT(Clock::Real().Now(), deadline);
    std::this_thread::sleep_for(milliseconds(20));
    frame.reset();
    // Not once: a wait that ends at once, for the other frames, gives no credits back.
    while (!acquired && Clock::Real().Now() < deadline) host_->Wait(In(milliseconds(1)));
  });
  std::this_thread::sleep_for(milliseconds(20));
  for (uint32_t i = 0; i < kLayout.slots; ++i) {
    std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
    EXPECT_TRUE(slot != nullptr && to_host_->Send(std::move(slot), {.batch = i}).ok());
  }
  const TimePoint deadline = In(seconds(60));
  while (to_host_->TryAcquire() == nullptr && Clock::Real().Now() < deadline) {
    router_->Wait(deadline);
  }
  EXPECT_LT(Clock::Real().Now(), deadline);
  acquired = true;
  host.join();
}

TEST_P(TransportConformanceTest, AWaitEndsAtItsDeadline) {
  OpenPair();
  while (router_->Progress()) {
  }
  const TimePoint deadline = In(milliseconds(5));
  while (Clock::Real().Now() < deadline) router_->Wait(deadline);
  router_->Wait(Clock::Real().Now() - seconds(1));
}

TEST_P(TransportConformanceTest, AnAbandonedChannelIsLostToItsPeerAndItsLateFramesAreGone) {
  OpenPair();
  for (uint64_t i = 0; i < kLayout.slots; ++i) SendNumbered(*to_host_, i, kLayout.rows);
  to_router_.reset();
  ASSERT_TRUE(Until([&] { return to_host_->state() == ChannelState::kLost; }));
  EXPECT_FALSE(to_host_->status().ok());
  EXPECT_EQ(to_host_->TryAcquire(), nullptr);
  EXPECT_EQ(to_host_->TryReceive(), nullptr);
  to_host_.reset();

  OpenPair(kLayout, kNonce + 1);
  SendNumbered(*to_host_, 100, 1);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->header().batch, 100u);
}

TEST_P(TransportConformanceTest, ASlotHeldAcrossALossCannotBeSent) {
  OpenPair();
  std::unique_ptr<SendSlot> slot = to_host_->TryAcquire();
  ASSERT_NE(slot, nullptr);
  to_router_.reset();
  ASSERT_TRUE(Until([&] { return to_host_->state() == ChannelState::kLost; }));
  EXPECT_FALSE(to_host_->Send(std::move(slot), {}).ok());
}

TEST_P(TransportConformanceTest, AFrameHeldAcrossALossStaysReadable) {
  OpenPair();
  SendNumbered(*to_host_, 5, kLayout.rows);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  to_host_.reset();
  router_.reset();
  ASSERT_TRUE(Until([&] { return to_router_->state() == ChannelState::kLost; }));
  EXPECT_TRUE(IsNumbered(*frame, kLayout));
}

TEST_P(TransportConformanceTest, ManyChannelsCanBeOpenedAndAbandoned) {
  for (uint64_t i = 0; i < 50; ++i) {
    OpenPair(kLayout, kNonce + i);
    SendNumbered(*to_host_, i, 2);
    const auto frame = Receive(*to_router_);
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->header().batch, i);
  }
}

}  // namespace switchyard::transport
