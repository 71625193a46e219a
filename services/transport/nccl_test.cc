// The NCCL backend with headers over loopback, on the fake NCCL: no device.

#include "services/transport/nccl.h"

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/fake_gpu_links.h"
#include "services/transport/conformance.h"
#include "services/transport/loopback.h"

namespace switchyard::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::unique_ptr<Transport> StartNccl(LoopbackNetwork& network, uint64_t member,
                                     uint64_t incarnation, const NcclOptions& options = {}) {
  return MakeNcclTransport(network.Start(member, incarnation), kernels::MakeFakeGpuLinks(),
                           options);
}

class NcclOverLoopback : public ConformanceNetwork {
 public:
  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) override {
    return StartNccl(network_, member, incarnation);
  }

 private:
  LoopbackNetwork network_{{.open_timeout = seconds(1)}};
};

INSTANTIATE_TEST_SUITE_P(Nccl, TransportConformanceTest,
                         testing::Values(ConformanceBackend{
                             .name = "nccl", .lane = "nccl with loopback", .make = [] {
                               return std::make_unique<NcclOverLoopback>();
                             }}));

constexpr SlotLayout kLayout{.rows = 4, .row_bytes = 64, .metadata_bytes = 48, .slots = 4};
const NcclOptions kShort{.open_timeout = milliseconds(200),
                         .transfer_timeout = milliseconds(200),
                         .close_timeout = milliseconds(50)};

// Router 1 with a channel to each of the hosts 2 and 3, all on one thread.
class NcclFaultTest : public testing::Test {
 protected:
  struct Pair {
    std::unique_ptr<Channel> at_router;
    std::unique_ptr<Channel> at_host;
  };

  NcclFaultTest() { Start({}); }
  ~NcclFaultTest() override {
    nccl_.HoldAborts(false);
    nccl_.HangTransfers(false);
    nccl_.HangConnections(false);
  }

  void Start(const NcclOptions& options) {
    router_ = StartNccl(network_, 1, 11, options);
    hosts_.clear();
    hosts_.push_back(StartNccl(network_, 2, 22, options));
    hosts_.push_back(StartNccl(network_, 3, 33, options));
  }

  Pair OpenOnly(size_t host, uint64_t nonce, const SlotLayout& layout_at_host = kLayout) {
    return {*router_->Open(hosts_[host]->address(), kLayout, nonce),
            *hosts_[host]->Open(router_->address(), layout_at_host, nonce)};
  }

  Pair Open(size_t host, uint64_t nonce) {
    Pair pair = OpenOnly(host, nonce);
    EXPECT_TRUE(Until([&] {
      return pair.at_router->state() == ChannelState::kOpen &&
             pair.at_host->state() == ChannelState::kOpen;
    })) << pair.at_router->status()
        << pair.at_host->status();
    return pair;
  }

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(20);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      router_->Wait(Clock::Real().Now() + milliseconds(1));
      for (const auto& host : hosts_) host->Wait(Clock::Real().Now() + milliseconds(1));
    }
    return true;
  }

  // Without calling anything of a transport.
  static bool UntilByThemselves(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(20);
    while (!condition() && Clock::Real().Now() < deadline) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    return condition();
  }

  static absl::Status SendOne(Channel& channel, uint64_t number) {
    std::unique_ptr<SendSlot> slot = channel.TryAcquire();
    if (slot == nullptr) return absl::UnavailableError("no slot");
    const FrameHeader header = FillNumbered(*slot, kLayout, number, 3);
    return channel.Send(std::move(slot), header);
  }

  void ExpectExchange(const Pair& pair, uint64_t number) {
    std::unique_ptr<ReceivedFrame> frame;
    const absl::Status sent = SendOne(*pair.at_router, number);
    EXPECT_TRUE(sent.ok()) << sent;
    EXPECT_TRUE(Until([&] { return (frame = pair.at_host->TryReceive()) != nullptr; }));
    EXPECT_TRUE(frame != nullptr && IsNumbered(*frame, kLayout));
  }

  bool UntilLost(const Channel& channel) {
    return Until([&] { return channel.state() == ChannelState::kLost; });
  }

  kernels::FakeNccl& nccl_ = kernels::TheFakeNccl();
  LoopbackNetwork network_{{.lost_after = milliseconds(100)}};
  std::unique_ptr<Transport> router_;
  std::vector<std::unique_ptr<Transport>> hosts_;
};

TEST_F(NcclFaultTest, ADeadPeerEndsItsOwnLinksAndComesBackWithOthers) {
  const Pair other = Open(1, 1);
  const int live_without = nccl_.live();
  Pair dying = Open(0, 2);
  EXPECT_EQ(nccl_.live(), live_without + 4) << "one communicator each way, two ends";
  nccl_.HangTransfers(true);  // the peer's GPU does nothing any more
  EXPECT_TRUE(SendOne(*dying.at_router, 1).ok());
  network_.Kill(2, 22);
  ASSERT_TRUE(UntilLost(*dying.at_router));
  ASSERT_TRUE(Until([&] { return nccl_.live() <= live_without + 2; }));
  nccl_.HangTransfers(false);
  EXPECT_EQ(dying.at_router->TryAcquire(), nullptr);
  ExpectExchange(other, 3);

  dying = {};
  hosts_[0] = StartNccl(network_, 2, 23);
  const Pair successor = Open(0, 3);
  ExpectExchange(successor, 4);
  ExpectExchange(other, 5);
  EXPECT_EQ(nccl_.live(), live_without + 4);
}

TEST_F(NcclFaultTest, SilenceEndsTheLinksOnBothSides) {
  const int live = nccl_.live();
  const Pair pair = Open(0, 1);
  nccl_.HangTransfers(true);
  EXPECT_TRUE(SendOne(*pair.at_router, 1).ok());
  EXPECT_TRUE(SendOne(*pair.at_host, 1).ok());
  network_.Cut(2, 1);
  network_.Cut(1, 2);
  EXPECT_TRUE(UntilLost(*pair.at_router));
  EXPECT_TRUE(UntilLost(*pair.at_host));
  EXPECT_TRUE(Until([&] { return nccl_.live() == live; }));
}

// The owners are busy with something else, perhaps with waiting for the device.
TEST_F(NcclFaultTest, LinksToADeadPeerAreAbortedWhileNobodyLooks) {
  const Pair other = Open(1, 1);
  const int live_without = nccl_.live();
  const Pair dying = Open(0, 2);
  nccl_.HangTransfers(true);
  EXPECT_TRUE(SendOne(*dying.at_router, 1).ok());
  EXPECT_FALSE(dying.at_router->lost());
  network_.Kill(2, 22);
  EXPECT_TRUE(dying.at_router->lost());
  EXPECT_TRUE(UntilByThemselves([&] { return nccl_.live() == live_without; }));
  nccl_.HangTransfers(false);
  EXPECT_FALSE(SendOne(*dying.at_router, 2).ok());
  EXPECT_TRUE(UntilLost(*dying.at_router));
  ExpectExchange(other, 3);
}

TEST_F(NcclFaultTest, LinksThatFailOrHangAreAbortedWhileNobodyLooks) {
  Start(kShort);
  const int live = nccl_.live();
  const Pair failing = Open(0, 1);
  nccl_.FailAll(ncclRemoteError);
  EXPECT_TRUE(UntilByThemselves([&] { return nccl_.live() == live; }));
  EXPECT_TRUE(failing.at_router->lost());
  EXPECT_TRUE(UntilLost(*failing.at_router));
  EXPECT_NE(failing.at_router->status().message().find("ncclRemoteError"), std::string::npos);

  const Pair hanging = Open(1, 2);
  nccl_.HangTransfers(true);
  EXPECT_TRUE(SendOne(*hanging.at_router, 1).ok());
  EXPECT_TRUE(UntilByThemselves([&] { return nccl_.live() == live + 2; }))
      << "the sender's; the receiver has not started anything";
  nccl_.HangTransfers(false);
  EXPECT_TRUE(UntilLost(*hanging.at_router));
  EXPECT_TRUE(UntilLost(*hanging.at_host));
}

TEST_F(NcclFaultTest, ATransferThatHangsHasADeadline) {
  Start(kShort);
  const Pair pair = Open(0, 1);
  const Pair other = Open(1, 2);
  ExpectExchange(pair, 1);
  nccl_.HangTransfers(true);
  EXPECT_TRUE(SendOne(*pair.at_router, 2).ok());
  EXPECT_TRUE(UntilLost(*pair.at_router));
  EXPECT_TRUE(UntilLost(*pair.at_host)) << "one side's loss is the other's";
  const std::string why(pair.at_router->status().message());
  EXPECT_NE(why.find("member 2"), why.npos) << why;
  nccl_.HangTransfers(false);
  ExpectExchange(other, 3);
}

TEST_F(NcclFaultTest, GpusThatDoNotConnectHaveADeadline) {
  Start(kShort);
  nccl_.HangConnections(true);
  const Pair pair = OpenOnly(0, 1);
  EXPECT_TRUE(UntilLost(*pair.at_router));
  EXPECT_TRUE(UntilLost(*pair.at_host));
  const std::string why = pair.at_router->status().ToString() + pair.at_host->status().ToString();
  EXPECT_NE(why.find("did not connect within 200 ms"), why.npos) << why;
}

TEST_F(NcclFaultTest, AnErrorOfNcclLosesAnIdleChannel) {
  const Pair pair = Open(0, 1);
  nccl_.FailAll(ncclRemoteError);
  EXPECT_TRUE(UntilLost(*pair.at_router));
  EXPECT_TRUE(UntilLost(*pair.at_host));
  const std::string why = pair.at_router->status().ToString() + pair.at_host->status().ToString();
  EXPECT_NE(why.find("ncclRemoteError"), why.npos) << why;
  const Pair again = Open(0, 2);
  ExpectExchange(again, 1);
}

TEST_F(NcclFaultTest, ASlotAndAFrameHeldAcrossAnErrorStayUsable) {
  const Pair pair = Open(0, 1);
  EXPECT_TRUE(SendOne(*pair.at_router, 7).ok());
  std::unique_ptr<ReceivedFrame> frame;
  ASSERT_TRUE(Until([&] { return (frame = pair.at_host->TryReceive()) != nullptr; }));
  std::unique_ptr<SendSlot> slot = pair.at_host->TryAcquire();
  ASSERT_NE(slot, nullptr);
  nccl_.FailAll(ncclSystemError);
  ASSERT_TRUE(UntilLost(*pair.at_host));
  EXPECT_TRUE(IsNumbered(*frame, kLayout));
  const FrameHeader header = FillNumbered(*slot, kLayout, 8, kLayout.rows);
  EXPECT_FALSE(pair.at_host->Send(std::move(slot), header).ok());
  frame.reset();
  EXPECT_TRUE(UntilLost(*pair.at_router));
}

TEST_F(NcclFaultTest, AnAbortThatHangsHoldsNobodyUp) {
  Start(kShort);
  const int live = nccl_.live();
  Pair pair = Open(0, 1);
  nccl_.HangTransfers(true);
  EXPECT_TRUE(SendOne(*pair.at_router, 1).ok());
  nccl_.HangTransfers(false);
  nccl_.HoldAborts(true);
  const int aborted = nccl_.aborted();
  pair = {};
  EXPECT_TRUE(Until([&] { return nccl_.aborted() == aborted + 4; })) << "all at once";
  const Pair other = Open(1, 2);
  ExpectExchange(other, 2);
  testing::internal::CaptureStderr();
  hosts_[0].reset();  // gives up after close_timeout
  hosts_.erase(hosts_.begin());
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("left to the end of the process"), std::string::npos) << log;
  nccl_.HoldAborts(false);
  EXPECT_TRUE(Until([&] { return nccl_.live() == live + 4; }));
}

TEST_F(NcclFaultTest, ALostAnnouncementLosesTheChannelBeforePayloadsAreMixedUp) {
  const Pair pair = Open(0, 1);
  network_.SetFaults({.drop = 1});
  EXPECT_TRUE(SendOne(*pair.at_router, 1).ok());
  network_.SetFaults({});
  EXPECT_TRUE(SendOne(*pair.at_router, 2).ok());
  EXPECT_TRUE(UntilLost(*pair.at_host));
  EXPECT_EQ(pair.at_host->status().code(), absl::StatusCode::kDataLoss) << pair.at_host->status();
  EXPECT_EQ(pair.at_host->TryReceive(), nullptr);
  EXPECT_TRUE(UntilLost(*pair.at_router));
}

TEST_F(NcclFaultTest, ALayoutThatDiffersInBytesOfRowsOnlyIsRefused) {
  SlotLayout other = kLayout;
  other.row_bytes = 32;
  const Pair pair = OpenOnly(0, 1, other);
  EXPECT_TRUE(UntilLost(*pair.at_router));
  EXPECT_TRUE(UntilLost(*pair.at_host));
}

}  // namespace
}  // namespace switchyard::transport
