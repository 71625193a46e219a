#include "router_service/host_connections.h"

#include <condition_variable>
#include <functional>
#include <set>

#include "gtest/gtest.h"
#include "services/transport/loopback.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr transport::SlotLayout kLayout{
    .rows = 2, .row_bytes = 4, .metadata_bytes = 24, .slots = 2};

v1::Member Host(uint64_t id, uint64_t incarnation = 1) {
  v1::Member host;
  host.set_name("host-" + std::to_string(id));
  host.set_id(id);
  host.set_incarnation(incarnation);
  return host;
}

// Hosts that answer, do not answer, or cannot be reached, by id.
class HostConnectionsTest : public ::testing::Test {
 protected:
  ~HostConnectionsTest() override {
    Thaw();
    connections_.SetHosts({});
  }

  absl::StatusOr<transport::PeerAddress> Ask(const v1::Member& host,
                                             const transport::PeerAddress& router, uint64_t nonce) {
    std::unique_lock lock(mutex_);
    ++asked_[host.id()];
    changed_.wait_for(lock, seconds(60), [&] { return !frozen_.contains(host.id()); });
    if (absent_.contains(host.id())) return absl::UnavailableError("connection refused");
    auto& peer = peers_[host.id()];
    const uint64_t life = host.incarnation() + (stranger_ == host.id() ? 1 : 0);
    peer.transport = network_.Start(host.id(), life);
    peer.channel = *peer.transport->Open(router, kLayout, nonce);
    return peer.transport->address();
  }
  void Thaw() {
    std::lock_guard lock(mutex_);
    frozen_.clear();
    changed_.notify_all();
  }
  int asked(uint64_t host) {
    std::lock_guard lock(mutex_);
    return asked_[host];
  }
  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(30);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      router_->Wait(Clock::Real().Now() + milliseconds(1));
      connections_.Poll(lost_);
    }
    return true;
  }
  // Polls for a while, so that what should not happen would have.
  void PollAWhile() {
    const TimePoint end = Clock::Real().Now() + milliseconds(50);
    Until([&] { return Clock::Real().Now() >= end; });
  }

  struct Peer {
    std::unique_ptr<transport::Transport> transport;
    std::unique_ptr<transport::Channel> channel;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<uint64_t> frozen_, absent_;
  uint64_t stranger_ = 0;
  std::map<uint64_t, int> asked_;
  transport::LoopbackNetwork network_;
  std::map<uint64_t, Peer> peers_;
  ManualClock clock_;
  std::vector<uint64_t> lost_;
  std::unique_ptr<transport::Transport> router_ = network_.Start(1, 11);
  HostConnections connections_{
      [this](const v1::Member& host, const transport::PeerAddress& router,
             const transport::SlotLayout&, uint64_t nonce) { return Ask(host, router, nonce); },
      kLayout, clock_, [](uint64_t) { return false; }, [this] { router_->Wake(); }};
};

TEST_F(HostConnectionsTest, AFrozenHostHoldsUpNobodyElse) {
  frozen_ = {100, 101, 102, 103};
  connections_.SetTransport(router_.get());
  connections_.SetHosts({Host(100), Host(101), Host(102), Host(103), Host(104)});
  EXPECT_TRUE(Until([&] { return connections_.Find(104) != nullptr; }));
  Thaw();
  EXPECT_TRUE(Until([&] { return connections_.Find(100) != nullptr; }));
}

TEST_F(HostConnectionsTest, TriesAHostThatIsNotThereEverMoreSeldom) {
  absent_ = {100};
  connections_.SetTransport(router_.get());
  connections_.SetHosts({Host(100)});
  int asked_before = 0;
  for (const int pause : {100, 200, 400, 800, 1600, 2000, 2000}) {
    ASSERT_TRUE(Until([&] { return asked(100) == asked_before + 1; }));
    PollAWhile();
    ++asked_before;
    clock_.Advance(milliseconds(pause - 1));
    PollAWhile();
    EXPECT_EQ(asked(100), asked_before) << "within " << pause << " ms";
    clock_.Advance(milliseconds(1));
  }
  // One that came back as another incarnation is asked at once.
  {
    std::lock_guard lock(mutex_);
    absent_.clear();
  }
  connections_.SetHosts({Host(100, 2)});
  EXPECT_TRUE(Until([&] { return connections_.Find(100) != nullptr; }));
}

TEST_F(HostConnectionsTest, AnotherIncarnationThanThePlacementsIsNotConnectedTo) {
  stranger_ = 100;
  connections_.SetTransport(router_.get());
  connections_.SetHosts({Host(100)});
  ASSERT_TRUE(Until([&] { return asked(100) == 1; }));
  PollAWhile();
  EXPECT_EQ(connections_.Find(100), nullptr);
  {
    std::lock_guard lock(mutex_);
    stranger_ = 0;
  }
  clock_.Advance(milliseconds(100));
  EXPECT_TRUE(Until([&] { return connections_.Find(100) != nullptr; }));
}

}  // namespace
}  // namespace switchyard::router
