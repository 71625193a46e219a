#include "services/transport/ucx.h"

#include <signal.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/transport/child_process.h"
#include "services/transport/conformance.h"
#include "services/transport/ucx_test_peer.h"

namespace switchyard::transport {
namespace {

using std::chrono::seconds;

class UcxNetwork : public ConformanceNetwork {
 public:
  explicit UcxNetwork(UcxLanes lanes) : lanes_(lanes) {}
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    auto transport = UcxTransport::Start({.member = member,
                                          .incarnation = incarnation,
                                          .lanes = lanes_,
                                          .open_timeout = seconds(1)});
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }

 private:
  const UcxLanes lanes_;
};

ConformanceBackend Backend(const std::string& name, const std::string& lane, UcxLanes lanes) {
  return {
      .name = name, .lane = lane, .make = [lanes] { return std::make_unique<UcxNetwork>(lanes); }};
}

INSTANTIATE_TEST_SUITE_P(Ucx, TransportConformanceTest,
                         testing::Values(Backend("shm", "ucx posix", UcxLanes::kSharedMemory),
                                         Backend("tcp", "ucx tcp", UcxLanes::kTcp),
                                         Backend("auto", "ucx posix", UcxLanes::kAuto)),
                         [](const auto& info) { return info.param.name; });

class UcxFrameTest : public TransportConformanceTest {};

// Header and payload checksums are checked alike on every lane that has them: slot_image_test.
TEST_P(UcxFrameTest, PayloadChecksumsAreOnWhereverFramesLeaveTheMachine) {
  OpenPair();
  SendNumbered(*to_host_, 150, 3);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  std::vector<std::byte> body(frame->payload().begin(), frame->payload().end());
  body.insert(body.end(), frame->metadata().begin(), frame->metadata().end());
  EXPECT_EQ(frame->header().payload_checksum,
            GetParam().lane == "ucx tcp" ? PayloadChecksum(body) : 0);
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxFrameTest,
                         testing::Values(Backend("shm", "ucx posix", UcxLanes::kSharedMemory),
                                         Backend("tcp", "ucx tcp", UcxLanes::kTcp)),
                         [](const auto& info) { return info.param.name; });

class UcxSharedFrameTest : public TransportConformanceTest {};

// In shared memory the sender can still reach what it has sent, as a fault of memory would.
TEST_P(UcxSharedFrameTest, AFlippedHeaderBitIsRejectedAndTheSlotComesBack) {
  OpenPair();
  testing::internal::CaptureStderr();
  for (size_t bit = 0; bit < 8 * kHeaderBytes; bit += 5) {
    std::unique_ptr<SendSlot> slot;
    ASSERT_TRUE(Until([&] { return (slot = to_host_->TryAcquire()) != nullptr; }));
    std::byte* const header_bytes = slot->payload().data() - kHeaderBytes;
    const FrameHeader header = FillNumbered(*slot, kLayout, bit, 1);
    ASSERT_TRUE(to_host_->Send(std::move(slot), header).ok());
    header_bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(to_router_->TryReceive(), nullptr) << "bit " << bit;
    EXPECT_EQ(to_router_->rejected_frames(), bit / 5 + 1);
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("rejected from member 1 over ucx posix, 1 so far: frame header: magic"),
            std::string::npos)
      << log;
  SendNumbered(*to_host_, 1, 2);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  EXPECT_TRUE(IsNumbered(*frame, kLayout));
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxSharedFrameTest,
                         testing::Values(Backend("shm", "ucx posix", UcxLanes::kSharedMemory)),
                         [](const auto& info) { return info.param.name; });

// A transport here and one in another process that sends back what it gets.
class UcxPeerProcessTest : public testing::TestWithParam<UcxLanes> {
 protected:
  static std::unique_ptr<UcxTransport> StartTester() {
    auto transport = UcxTransport::Start({.member = kTesterMember,
                                          .incarnation = kTesterIncarnation,
                                          .lanes = GetParam(),
                                          .open_timeout = seconds(20)});
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }

  // Starts the process and opens a channel to it.
  void StartPeer(uint64_t incarnation) {
    channel_.reset();
    process_ = std::make_unique<ChildProcess>(std::vector<std::string>{
        "services/transport/ucx_test_peer", std::to_string(static_cast<int>(GetParam())),
        std::to_string(incarnation), transport_->address().address, std::to_string(incarnation)});
    auto channel = transport_->Open(
        {.member = kPeerMember, .incarnation = incarnation, .address = process_->ReadLine()},
        kPeerLayout, incarnation);
    ASSERT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
    ASSERT_TRUE(Until([&] { return channel_->state() != ChannelState::kOpening; }));
    ASSERT_EQ(channel_->state(), ChannelState::kOpen) << channel_->status();
  }

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(20);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      transport_->Wait(Clock::Real().Now() + std::chrono::milliseconds(20));
    }
    return true;
  }

  // Keeps every slot busy until `echoes` frames have come back, or the peer is lost.
  void Exchange(uint64_t echoes) {
    uint64_t received = 0;
    EXPECT_TRUE(Until([&] {
      while (auto slot = channel_->TryAcquire()) {
        const FrameHeader header = FillNumbered(*slot, kPeerLayout, sent_, sent_ % 17);
        ++sent_;
        if (!channel_->Send(std::move(slot), header).ok()) break;
      }
      while (const auto frame = channel_->TryReceive()) {
        EXPECT_TRUE(IsNumbered(*frame, kPeerLayout));
        ++received;
      }
      return received >= echoes || channel_->state() == ChannelState::kLost;
    }));
  }

  static size_t OpenDescriptors() {
    const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(entries), end(entries)));
  }

  std::unique_ptr<UcxTransport> transport_ = StartTester();
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<Channel> channel_;
  uint64_t sent_ = 0;
};

TEST_P(UcxPeerProcessTest, APeerThatIsKilledAgainAndAgainIsLostAndReplaced) {
  size_t descriptors = 0;
  for (uint64_t incarnation = 100; incarnation < 110; ++incarnation) {
    StartPeer(incarnation);
    if (HasFatalFailure()) return;
    Exchange(300);
    ASSERT_EQ(channel_->state(), ChannelState::kOpen) << channel_->status();
    process_->Signal(SIGKILL);
    Exchange(~uint64_t{0});  // sends into the void until the loss is noticed
    EXPECT_EQ(channel_->state(), ChannelState::kLost);
    EXPECT_EQ(channel_->status().code(), absl::StatusCode::kUnavailable) << channel_->status();
    EXPECT_EQ(channel_->TryAcquire(), nullptr);
    EXPECT_EQ(process_->Join(), -SIGKILL);
    process_.reset();
    if (incarnation == 102) descriptors = OpenDescriptors();
  }
  EXPECT_TRUE(Until([&] { return OpenDescriptors() <= descriptors; }))
      << "lost peers leave descriptors behind: " << OpenDescriptors() << " after " << descriptors;
}

TEST_P(UcxPeerProcessTest, AStoppedPeerIsLostAndComesBackAsAStranger) {
  StartPeer(100);
  if (HasFatalFailure()) return;
  Exchange(100);
  process_->Signal(SIGSTOP);
  Exchange(~uint64_t{0});
  ASSERT_EQ(channel_->state(), ChannelState::kLost);
  const auto stopped = std::move(process_);

  StartPeer(101);
  if (HasFatalFailure()) return;
  Exchange(100);
  stopped->Signal(SIGCONT);
  EXPECT_EQ(stopped->Join(), kPeerLostExit) << "it finds its channel gone";
  Exchange(100);
  EXPECT_EQ(channel_->state(), ChannelState::kOpen);
  EXPECT_EQ(channel_->rejected_frames(), 0u);
}

TEST_P(UcxPeerProcessTest, AnIdlePeerStaysAlive) {
  StartPeer(100);
  if (HasFatalFailure()) return;
  const TimePoint end = Clock::Real().Now() + std::chrono::milliseconds(1200);
  while (Clock::Real().Now() < end) transport_->Wait(end);
  EXPECT_EQ(channel_->state(), ChannelState::kOpen) << channel_->status();
  Exchange(10);
}

std::string LanesName(const testing::TestParamInfo<UcxLanes>& info) {
  switch (info.param) {
    case UcxLanes::kAuto:
      return "auto";
    case UcxLanes::kSharedMemory:
      return "shm";
    case UcxLanes::kTcp:
      return "tcp";
  }
  return "unknown";
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxPeerProcessTest,
                         testing::Values(UcxLanes::kSharedMemory, UcxLanes::kTcp, UcxLanes::kAuto),
                         &LanesName);

}  // namespace
}  // namespace switchyard::transport
