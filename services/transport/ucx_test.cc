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

// Members 1 and 2 may run in different modes.
class UcxNetwork : public ConformanceNetwork {
 public:
  UcxNetwork(UcxTestMode first, UcxTestMode second) : first_(first), second_(second) {}
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    UcxOptions options = OptionsOf(member == 1 ? first_ : second_);
    options.member = member;
    options.incarnation = incarnation;
    options.open_timeout = seconds(1);
    auto transport = UcxTransport::Start(options);
    EXPECT_TRUE(transport.ok()) << transport.status();
    return *std::move(transport);
  }

 private:
  const UcxTestMode first_;
  const UcxTestMode second_;
};

ConformanceBackend Backend(const std::string& name, const std::string& lane, UcxTestMode first,
                           UcxTestMode second) {
  return {.name = name, .lane = lane, .make = [first, second] {
            return std::make_unique<UcxNetwork>(first, second);
          }};
}
ConformanceBackend Backend(const std::string& name, const std::string& lane, UcxTestMode mode) {
  return Backend(name, lane, mode, mode);
}

const auto kShm = Backend("shm", "ucx posix", UcxTestMode::kSharedMemory);
const auto kTcp = Backend("tcp", "ucx tcp", UcxTestMode::kTcp);
const auto kEager = Backend("eager_payloads", "ucx tcp split", UcxTestMode::kEagerPayloads);
const auto kHalfFetched =
    Backend("one_side_fetched", "ucx tcp split", UcxTestMode::kFetchedPayloads, UcxTestMode::kAuto);
const auto kFetched = Backend("fetched_payloads", "ucx tcp split", UcxTestMode::kFetchedPayloads);

INSTANTIATE_TEST_SUITE_P(Ucx, TransportConformanceTest,
                         testing::Values(kShm, kTcp,
                                         Backend("auto", "ucx posix", UcxTestMode::kAuto), kEager,
                                         kFetched, kHalfFetched,
                                         Backend("other_side_eager", "ucx tcp split",
                                                 UcxTestMode::kTcp, UcxTestMode::kEagerPayloads)),
                         [](const auto& info) { return info.param.name; });

class UcxFrameTest : public TransportConformanceTest {};

// Header and payload checksums are checked alike on every lane that has them: slot_image_test.
TEST_P(UcxFrameTest, ChecksumsAreOnWhereverFramesLeaveTheMachineButNotOverPayloadsOfADevice) {
  OpenPair();
  SendNumbered(*to_host_, 150, 3);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  const bool split = GetParam().lane == kEager.lane;
  std::vector<std::byte> body;
  if (!split) body.assign(frame->payload().begin(), frame->payload().end());
  body.insert(body.end(), frame->metadata().begin(), frame->metadata().end());
  EXPECT_EQ(frame->header().payload_checksum,
            GetParam().lane == kShm.lane ? 0 : PayloadChecksum(body));
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxFrameTest, testing::Values(kShm, kTcp, kEager),
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

INSTANTIATE_TEST_SUITE_P(Ucx, UcxSharedFrameTest, testing::Values(kShm),
                         [](const auto& info) { return info.param.name; });

class UcxFetchedPayloadTest : public TransportConformanceTest {
 protected:
  static constexpr SlotLayout kLarge{
      .rows = 1024, .row_bytes = 8192, .metadata_bytes = 96, .slots = 2};

  bool HostAloneUntil(const std::function<bool()>& condition) {
    for (int i = 0; i < 100 && !condition(); ++i) {
      host_->Wait(Clock::Real().Now() + std::chrono::milliseconds(2));
    }
    return condition();
  }
};

TEST_P(UcxFetchedPayloadTest, ASenderThatDiesBeforeItsPayloadIsFetchedLeavesNoFrameAndNothingElse) {
  testing::internal::CaptureStderr();
  for (uint64_t round = 0; round < 3; ++round) {
    OpenPair(kLarge, kNonce + round);
    SendNumbered(*to_host_, 1, kLarge.rows);
    SendNumbered(*to_host_, 2, 0);  // complete, but behind the first
    // The sender does nothing, so the payload that the host has begun to fetch does not come.
    EXPECT_FALSE(HostAloneUntil([&] { return to_router_->TryReceive() != nullptr; }));
    to_host_.reset();
    router_.reset();
    EXPECT_TRUE(HostAloneUntil([&] { return to_router_->state() == ChannelState::kLost; }));
    EXPECT_EQ(to_router_->TryReceive(), nullptr);
    to_router_.reset();
    router_ = network_->Start(1, 12 + round);
  }
  OpenPair(kLarge, kNonce + 9);
  SendNumbered(*to_host_, 3, kLarge.rows);
  const auto frame = Receive(*to_router_);
  ASSERT_NE(frame, nullptr);
  EXPECT_TRUE(IsNumbered(*frame, kLarge));
  EXPECT_EQ(to_router_->rejected_frames(), 0u);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(log.find("does not let go"), std::string::npos) << log;
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxFetchedPayloadTest, testing::Values(kFetched, kHalfFetched),
                         [](const auto& info) { return info.param.name; });

TEST(UcxOptionsTest, PayloadsOfADeviceAreRefusedWhereThereIsOnlySharedMemory) {
  UcxOptions options = OptionsOf(UcxTestMode::kEagerPayloads);
  options.lanes = UcxLanes::kSharedMemory;
  EXPECT_EQ(UcxTransport::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
}

// Debian's UCX, and any UCX on a machine without a driver.
TEST(UcxOptionsTest, AUcxWithoutCudaIsRefusedWithTheRemedy) {
  UcxOptions options = OptionsOf(UcxTestMode::kEagerPayloads);
  options.payload_memory->cuda = true;
  const auto transport = UcxTransport::Start(options);
  if (transport.ok()) GTEST_SKIP() << "this UCX knows CUDA's memory";
  EXPECT_EQ(transport.status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string why(transport.status().message());
  EXPECT_NE(why.find("scripts/setup --cuda"), why.npos) << why;
}

// A transport here and one in another process that sends back what it gets.
class UcxPeerProcessTest : public testing::TestWithParam<UcxTestMode> {
 protected:
  static std::unique_ptr<UcxTransport> StartTester() {
    UcxOptions options = OptionsOf(GetParam());
    options.member = kTesterMember;
    options.incarnation = kTesterIncarnation;
    options.open_timeout = seconds(20);
    auto transport = UcxTransport::Start(options);
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

std::string ModeName(const testing::TestParamInfo<UcxTestMode>& info) {
  switch (info.param) {
    case UcxTestMode::kSharedMemory:
      return "shm";
    case UcxTestMode::kTcp:
      return "tcp";
    case UcxTestMode::kAuto:
      return "auto";
    case UcxTestMode::kEagerPayloads:
      return "eager_payloads";
    case UcxTestMode::kFetchedPayloads:
      return "fetched_payloads";
  }
  return "unknown";
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxPeerProcessTest,
                         testing::Values(UcxTestMode::kSharedMemory, UcxTestMode::kTcp,
                                         UcxTestMode::kAuto, UcxTestMode::kEagerPayloads,
                                         UcxTestMode::kFetchedPayloads),
                         &ModeName);

}  // namespace
}  // namespace switchyard::transport
