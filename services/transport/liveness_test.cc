#include "services/transport/liveness.h"

#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "services/transport/liveness_connection.h"
#include "services/transport/tcp_socket.h"

namespace switchyard::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = LivenessEvent::Kind;

// A liveness thread and the events that it told of.
class Side {
 public:
  explicit Side(Duration open_timeout = seconds(5)) {
    auto started = Liveness::Start({.open_timeout = open_timeout, .notify = [this] {
                                      std::lock_guard lock(mutex_);
                                      ++told_;
                                      changed_.notify_all();
                                    }});
    EXPECT_TRUE(started.ok()) << started.status();
    liveness_ = *std::move(started);
  }

  Liveness& operator*() const { return *liveness_; }
  Liveness* operator->() { return liveness_.get(); }
  void Stop() { liveness_.reset(); }

  // The next event; kLost with an OK status when none comes in ten seconds.
  LivenessEvent Next() {
    const TimePoint deadline = Clock::Real().Now() + seconds(10);
    std::unique_lock lock(mutex_);
    while (events_.empty()) {
      for (LivenessEvent& event : liveness_->TakeEvents()) events_.push_back(std::move(event));
      if (!events_.empty()) break;
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) return {};
    }
    LivenessEvent event = std::move(events_.front());
    events_.erase(events_.begin());
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int told_ = 0;
  std::vector<LivenessEvent> events_;
  std::unique_ptr<Liveness> liveness_;
};

std::shared_ptr<std::atomic<bool>> Flag() { return std::make_shared<std::atomic<bool>>(false); }

Introduction From(uint64_t member, uint64_t peer, uint64_t channel_id) {
  return {.member = member,
          .incarnation = member * 10,
          .peer_member = peer,
          .peer_incarnation = peer * 10,
          .nonce = 77,
          .layout = {.rows = 1, .row_bytes = 2, .metadata_bytes = 3, .slots = 4},
          .channel_id = channel_id,
          .worker_address = "worker of " + std::to_string(member)};
}

TEST(LivenessTest, TwoSidesIntroduceThemselvesAndTellWhatTheyMapped) {
  Side low, high;
  high->Open(From(2, 1, 200), low->address(), Flag());  // the one that waits, first
  low->Open(From(1, 2, 100), high->address(), Flag());
  const LivenessEvent at_low = low.Next(), at_high = high.Next();
  EXPECT_EQ(at_low.kind, Kind::kIntroduced);
  EXPECT_EQ(at_low.channel_id, 100u);
  EXPECT_EQ(at_low.peer, From(2, 1, 200));
  EXPECT_EQ(at_high.peer, From(1, 2, 100));
  low->SendReady(100, true);
  high->SendReady(200, false);
  EXPECT_FALSE(low.Next().mapped);
  const LivenessEvent ready = high.Next();
  EXPECT_EQ(ready.kind, Kind::kReady);
  EXPECT_TRUE(ready.mapped);
}

TEST(LivenessTest, ThePeerMayOpenLater) {
  Side low, high;
  low->Open(From(1, 2, 100), high->address(), Flag());
  std::this_thread::sleep_for(milliseconds(120));
  high->Open(From(2, 1, 200), low->address(), Flag());
  EXPECT_EQ(low.Next().kind, Kind::kIntroduced);
  EXPECT_EQ(high.Next().kind, Kind::kIntroduced);
}

TEST(LivenessTest, ClosingAChannelAndStoppingASideAreLossesAtThePeer) {
  Side low, high;
  const auto lost = Flag();
  low->Open(From(1, 2, 100), high->address(), Flag());
  high->Open(From(2, 1, 200), low->address(), lost);
  ASSERT_EQ(low.Next().kind, Kind::kIntroduced);
  ASSERT_EQ(high.Next().kind, Kind::kIntroduced);
  EXPECT_FALSE(*lost);
  low->Close(100);
  const LivenessEvent closed = high.Next();
  EXPECT_EQ(closed.kind, Kind::kLost);
  EXPECT_TRUE(*lost);
  EXPECT_EQ(closed.why.code(), absl::StatusCode::kUnavailable);

  low->Open(From(1, 2, 101), high->address(), Flag());
  high->Open(From(2, 1, 201), low->address(), Flag());
  ASSERT_EQ(low.Next().kind, Kind::kIntroduced);
  ASSERT_EQ(high.Next().kind, Kind::kIntroduced);
  high.Stop();
  EXPECT_EQ(low.Next().why.code(), absl::StatusCode::kUnavailable);
}

TEST(LivenessTest, AnotherLayoutIsToldApartFromAnotherNonce) {
  Side low(milliseconds(300)), high(milliseconds(300));
  Introduction other = From(2, 1, 200);
  other.layout.slots = 5;
  low->Open(From(1, 2, 100), high->address(), Flag());
  high->Open(other, low->address(), Flag());
  EXPECT_EQ(low.Next().why.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(high.Next().why.code(), absl::StatusCode::kInvalidArgument);

  other = From(2, 1, 201);
  other.nonce = 78;
  low->Open(From(1, 2, 101), high->address(), Flag());
  high->Open(other, low->address(), Flag());
  EXPECT_EQ(low.Next().why.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(high.Next().why.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(LivenessTest, APeerThatFallsSilentIsLost) {
  Side high;
  high->Open(From(2, 1, 200), "127.0.0.1:1", Flag());
  auto socket = ConnectTcp(high->address());
  ASSERT_TRUE(socket.ok());
  LivenessConnection mute(*std::move(socket));
  mute.Post(LivenessMessage::kIntroduction, EncodeIntroduction(From(1, 2, 100)));
  std::optional<LivenessConnection::Message> answer;
  for (bool heard = false; !answer; answer = mute.Take()) {
    ASSERT_TRUE(mute.Exchange(heard));
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(high.Next().kind, Kind::kIntroduced);
  const LivenessEvent lost = high.Next();
  EXPECT_EQ(lost.kind, Kind::kLost);
  EXPECT_NE(lost.why.message().find("silent"), lost.why.message().npos) << lost.why;
}

// Connects to a side and introduces itself as member 1, which member 2 there awaits.
LivenessConnection Introduced(const Side& high) {
  auto socket = ConnectTcp((*high).address());
  EXPECT_TRUE(socket.ok());
  LivenessConnection peer(*std::move(socket));
  peer.Post(LivenessMessage::kIntroduction, EncodeIntroduction(From(1, 2, 100)));
  return peer;
}

TEST(LivenessTest, APeerThatBeatsButIsNeverReadyIsLost) {
  Side high(milliseconds(300));
  high->Open(From(2, 1, 200), "127.0.0.1:1", Flag());
  LivenessConnection peer = Introduced(high);
  std::thread beats([&] {
    bool heard = false;
    while (peer.Exchange(heard)) {
      peer.Post(LivenessMessage::kBeat, "12345678");
      std::this_thread::sleep_for(milliseconds(20));
    }
  });
  EXPECT_EQ(high.Next().kind, Kind::kIntroduced);
  const LivenessEvent lost = high.Next();
  EXPECT_EQ(lost.kind, Kind::kLost);
  EXPECT_EQ(lost.why.code(), absl::StatusCode::kDeadlineExceeded) << lost.why;
  EXPECT_NE(lost.why.message().find("did not set the channel up"), lost.why.message().npos);
  beats.join();
}

TEST(LivenessTest, AStrangerThatSaysMoreThanItsNameIsShownOut) {
  Side high;  // nobody there expects it, so it stays a stranger
  LivenessConnection stranger = Introduced(high);
  stranger.Post(LivenessMessage::kBeat, std::string(kMaxIntroductionBytes, 'x'));
  bool heard = false;
  const TimePoint deadline = Clock::Real().Now() + seconds(4);  // before it would be anyway
  while (stranger.Exchange(heard) && Clock::Real().Now() < deadline) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_LT(Clock::Real().Now(), deadline);
}

TEST(LivenessTest, AnotherVersionIsRefusedByName) {
  auto listener = ListenTcp("127.0.0.1", 0);
  ASSERT_TRUE(listener.ok());
  Side low;
  low->Open(From(1, 2, 100), *BoundAddress(*listener), Flag());
  UniqueFd socket;
  while (!(socket = AcceptTcp(*listener)).valid()) std::this_thread::sleep_for(milliseconds(1));
  LivenessConnection peer(std::move(socket));
  std::string introduction = EncodeIntroduction(From(2, 1, 200));
  introduction[4] = 9;
  peer.Post(LivenessMessage::kIntroduction, introduction);
  bool heard = false;
  (void)peer.Exchange(heard);  // false when the other side has hung up already
  const LivenessEvent lost = low.Next();
  EXPECT_EQ(lost.why.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(lost.why.message().find("version 9"), lost.why.message().npos) << lost.why;
}

TEST(LivenessTest, StrangersWhoTalkNonsenseAreShownOut) {
  Side high;
  high->Open(From(2, 1, 200), "127.0.0.1:1", Flag());
  for (const std::string& nonsense :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100, '\xFF'), std::string(40, '\0')}) {
    auto socket = ConnectTcp(high->address());
    ASSERT_TRUE(socket.ok());
    while (send(socket->get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL) < 0) {
    }
    char byte;
    while (recv(socket->get(), &byte, 1, 0) < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  // And the channel still opens.
  Side low;
  low->Open(From(1, 2, 100), high->address(), Flag());
  EXPECT_EQ(high.Next().kind, Kind::kIntroduced);
}

TEST(IntroductionTest, DecodesWhatItEncodedAndNothingElse) {
  Introduction introduction = From(1, 2, 3);
  introduction.checksum = true;
  introduction.region_address = 4;
  introduction.region_key = std::string("\0key", 4);
  introduction.wake_address = "wake";
  const std::string good = EncodeIntroduction(introduction);
  const auto decoded = DecodeIntroduction(good);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, introduction);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(DecodeIntroduction(good.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeIntroduction(good + "x").ok());
  introduction.region_key = std::string(kMaxIntroductionBytes, 'x');
  EXPECT_FALSE(DecodeIntroduction(EncodeIntroduction(introduction)).ok());
}

}  // namespace
}  // namespace switchyard::transport
