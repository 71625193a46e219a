// A router worker's dispatcher between two hosts of which one refuses, answers with nonsense or
// does not answer: the other one is asked.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "router_service/remote_dispatcher.h"
#include "services/runtime/placement_view.h"
#include "services/transport/loopback.h"

namespace switchyard::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using transport::Direction;
using transport::FrameHeader;
using transport::Refusal;

constexpr uint32_t kHidden = 16;
constexpr uint64_t kA = 100, kB = 200;

// Takes up Wakes only after something else has happened, as another thread may make it happen.
class InterruptedTransport : public transport::Transport {
 public:
  InterruptedTransport(std::unique_ptr<Transport> real, std::function<void()>& before)
      : real_(std::move(real)), before_(before) {}
  transport::PeerAddress address() const override { return real_->address(); }
  absl::StatusOr<std::unique_ptr<transport::Channel>> Open(const transport::PeerAddress& peer,
                                                           const transport::SlotLayout& layout,
                                                           uint64_t nonce) override {
    return real_->Open(peer, layout, nonce);
  }
  bool Progress() override {
    if (auto before = std::exchange(before_, nullptr)) before();
    return real_->Progress();
  }
  void Wait(TimePoint deadline) override { real_->Wait(deadline); }
  void Wake() override { real_->Wake(); }
  uint64_t late_messages() const override { return real_->late_messages(); }

 private:
  const std::unique_ptr<Transport> real_;
  std::function<void()>& before_;
};

class DoubtfulHostsTest : public ::testing::Test {
 protected:
  DoubtfulHostsTest() {
    router::RemoteDispatcherOptions options;
    options.transport = [this](uint64_t life) { return StartRouter(life); };
    options.request_channel = [this](const v1::Member& host, const transport::PeerAddress& router,
                                     const transport::SlotLayout& layout, uint64_t nonce) {
      std::lock_guard lock(mutex_);
      hosts_[host.id()].channel = *hosts_[host.id()].transport->Open(router, layout, nonce);
      return absl::StatusOr<transport::PeerAddress>(hosts_[host.id()].transport->address());
    };
    options.member = 1;
    options.incarnation = 77;
    options.hidden = kHidden;
    options.slot_assignments = 8;
    options.resend_after = milliseconds(50);
    for (const uint64_t id : {kA, kB}) hosts_[id].transport = network_.Start(id, 1);
    dispatcher_ = *router::RemoteDispatcher::Start(std::move(options));
    dispatcher_->SetPlacement(Placement(9));
  }

  absl::StatusOr<std::unique_ptr<transport::Transport>> StartRouter(uint64_t life) {
    if (std::exchange(transport_failures_, std::max(0, transport_failures_ - 1)) > 0) {
      return absl::ResourceExhaustedError("no descriptors left");
    }
    router_life_ = life;
    return std::make_unique<InterruptedTransport>(network_.Start(1, life), before_progress_);
  }

  // Both hosts own expert 0, the only one.
  static std::shared_ptr<const runtime::PlacementView> Placement(uint64_t epoch) {
    v1::Placement placement;
    placement.set_epoch(epoch);
    for (const uint64_t id : {kA, kB}) {
      placement.add_hosts()->set_id(id);
      placement.mutable_hosts()->rbegin()->set_name("host-" + std::to_string(id));
      placement.mutable_hosts()->rbegin()->set_incarnation(1);
    }
    v1::LayerPlacement* layer = placement.add_layers();
    for (const uint32_t offset : {0, 2}) layer->add_offsets(offset);
    for (const uint32_t host : {0, 1}) layer->add_hosts(host);
    return *runtime::PlacementView::Parse(std::move(placement));
  }

  // Runs the dispatcher and gives each dispatch that arrives to the host's behaviour.
  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(30);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      dispatcher_->Wait(Clock::Real().Now() + milliseconds(1));
      std::lock_guard lock(mutex_);
      for (auto& [id, host] : hosts_) {
        host.transport->Progress();
        while (host.channel != nullptr) {
          const auto frame = host.channel->TryReceive();
          if (frame == nullptr) break;
          seen_.emplace_back(id, frame->header().rows);
          behave_(*host.channel, id, *frame);
        }
      }
    }
    return true;
  }

  static FrameHeader Reply(const transport::ReceivedFrame& dispatch, Direction direction) {
    FrameHeader header = dispatch.header();
    header.direction = direction;
    header.rows = 0;
    header.metadata_bytes = 0;
    return header;
  }
  static void Refuse(transport::Channel& channel, const transport::ReceivedFrame& dispatch,
                     Refusal reason) {
    FrameHeader header = Reply(dispatch, Direction::kRefusal);
    header.refusal = reason;
    ASSERT_TRUE(channel.Send(channel.TryAcquire(), header).ok());
  }
  // Sends the rows back as they are: every row wants one expert.
  static void Echo(transport::Channel& channel, const transport::ReceivedFrame& dispatch) {
    FrameHeader header = Reply(dispatch, Direction::kCombine);
    header.rows = dispatch.header().rows;
    auto slot = channel.TryAcquire();
    std::memcpy(slot->payload().data(), dispatch.payload().data(), dispatch.payload().size());
    ASSERT_TRUE(channel.Send(std::move(slot), header).ok());
  }

  absl::Status Run(int64_t rows) {
    EXPECT_TRUE(Until([&] { return dispatcher_->Counters().lanes.size() == 2; }));
    activations_.resize(rows * kHidden);
    for (int64_t i = 0; i < std::ssize(activations_); ++i) activations_[i] = i / kHidden;
    experts_.assign(rows, 0);
    weights_.assign(rows, 1);
    seen_.clear();
    dispatcher_->Begin({.rows = rows,
                        .activations = reinterpret_cast<const std::byte*>(activations_.data()),
                        .experts = experts_.data(),
                        .weights = weights_.data(),
                        .timeout = seconds(30)});
    absl::Status status;
    EXPECT_TRUE(Until([&] { return dispatcher_->Finished(0, &status); }));
    return status;
  }
  void ExpectRow(int64_t row) {
    const auto* got = static_cast<const float*>(dispatcher_->Result(0)[row]);
    ASSERT_NE(got, nullptr) << "row " << row;
    EXPECT_EQ(got[kHidden - 1], static_cast<float>(row));
  }
  int Seen(uint64_t host) const {
    return static_cast<int>(std::count_if(seen_.begin(), seen_.end(),
                                          [=](const auto& seen) { return seen.first == host; }));
  }

  struct Host {
    std::unique_ptr<transport::Transport> transport;
    std::unique_ptr<transport::Channel> channel;
  };
  std::function<void(transport::Channel&, uint64_t, const transport::ReceivedFrame&)> behave_ =
      [](auto& channel, uint64_t, const auto& frame) { Echo(channel, frame); };
  std::vector<std::pair<uint64_t, uint32_t>> seen_;  // host and rows of each dispatch
  std::vector<float> activations_, weights_;
  std::vector<int32_t> experts_;
  int transport_failures_ = 0;
  uint64_t router_life_ = 0;  // of the last transport that was made
  std::function<void()> before_progress_;
  transport::LoopbackNetwork network_;
  std::mutex mutex_;  // the dispatcher asks for channels from threads of its own
  std::map<uint64_t, Host> hosts_;
  std::unique_ptr<router::RemoteDispatcher> dispatcher_;
};

TEST_F(DoubtfulHostsTest, ARefusalThatTryingAgainDoesNotMendGoesToTheOtherOwner) {
  for (const Refusal refusal : {Refusal::kMalformed, Refusal::kWrongModel}) {
    behave_ = [&](auto& channel, uint64_t id, const auto& frame) {
      if (id == kA) return Refuse(channel, frame, refusal);
      Echo(channel, frame);
    };
    ASSERT_TRUE(Run(4).ok());
    for (int64_t row = 0; row < 4; ++row) ExpectRow(row);
    ASSERT_TRUE(Run(4).ok());
    EXPECT_EQ(Seen(kA), 0) << "avoided from then on";
  }
}

TEST_F(DoubtfulHostsTest, ARefusalOfEveryOwnerFailsTheLayer) {
  behave_ = [&](auto& channel, uint64_t, const auto& frame) {
    Refuse(channel, frame, Refusal::kMalformed);
  };
  const absl::Status status = Run(2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_NE(status.message().find("as malformed"), std::string::npos) << status;
  EXPECT_EQ(Seen(kA), 1);
  EXPECT_EQ(Seen(kB), 1);
}

TEST_F(DoubtfulHostsTest, ARefusalOfSomethingElseIsStale) {
  behave_ = [&](auto& channel, uint64_t, const auto& frame) {
    FrameHeader header = Reply(frame, Direction::kRefusal);
    header.refusal = Refusal::kWrongModel;
    ++header.part;
    ASSERT_TRUE(channel.Send(channel.TryAcquire(), header).ok());
    Echo(channel, frame);
  };
  EXPECT_TRUE(Run(2).ok());
  EXPECT_GT(dispatcher_->Counters().stale_frames, 0u);
}

TEST_F(DoubtfulHostsTest, AResendGoesToAHostThatAnswers) {
  behave_ = [&](auto& channel, uint64_t id, const auto& frame) {
    if (id != kA) Echo(channel, frame);
  };
  ASSERT_TRUE(Run(6).ok());
  for (int64_t row = 0; row < 6; ++row) ExpectRow(row);
  EXPECT_EQ(Seen(kA), 1) << "once was enough";
  // Nor is it for the next layer: it has answered nothing since.
  ASSERT_TRUE(Run(6).ok());
  EXPECT_EQ(Seen(kA), 0);
}

TEST_F(DoubtfulHostsTest, AnOverflowOnOneHostOnlyIsComputedByTheOther) {
  behave_ = [&](auto& channel, uint64_t id, const auto& frame) {
    if (id == kA) return Refuse(channel, frame, Refusal::kNotFinite);
    Echo(channel, frame);
  };
  ASSERT_TRUE(Run(6).ok());
  for (int64_t row = 0; row < 6; ++row) ExpectRow(row);
}

TEST_F(DoubtfulHostsTest, ARowThatOverflowsEverywhereFailsAlone) {
  behave_ = [&](auto& channel, uint64_t, const auto& frame) {
    const auto* const rows = reinterpret_cast<const float*>(frame.payload().data());
    for (uint32_t row = 0; row < frame.header().rows; ++row) {
      if (rows[row * kHidden] == 3) return Refuse(channel, frame, Refusal::kNotFinite);
    }
    Echo(channel, frame);
  };
  ASSERT_TRUE(Run(6).ok());
  for (int64_t row = 0; row < 6; ++row) {
    if (row == 3) {
      EXPECT_EQ(dispatcher_->Result(0)[row], nullptr);
    } else {
      ExpectRow(row);
    }
  }
}

TEST_F(DoubtfulHostsTest, ADispatchThatExpiredDoesNotKeepWorkFromItsHost) {
  std::set<uint64_t> expired;
  behave_ = [&](auto& channel, uint64_t id, const auto& frame) {
    if (expired.insert(id).second) return Refuse(channel, frame, Refusal::kExpired);
    Echo(channel, frame);
  };
  ASSERT_TRUE(Run(2).ok());
  EXPECT_EQ(expired, (std::set<uint64_t>{kA, kB}));
  EXPECT_EQ(seen_.size(), 4u);
}

TEST_F(DoubtfulHostsTest, AnOrderThatComesWhileWakesAreTakenUpIsNotSleptOver) {
  ASSERT_TRUE(Run(1).ok());
  before_progress_ = [this] { dispatcher_->SetPlacement(Placement(10)); };
  dispatcher_->Poll();
  EXPECT_EQ(dispatcher_->OldestEpochInUse(), 10u);
}

TEST_F(DoubtfulHostsTest, APlacementIsTakenUpAlthoughThereIsNoTransport) {
  ASSERT_TRUE(Run(1).ok());
  transport_failures_ = 2;
  dispatcher_->Reset(78);
  dispatcher_->SetPlacement(Placement(10));
  dispatcher_->Poll();
  EXPECT_EQ(dispatcher_->OldestEpochInUse(), 10u);
  ASSERT_TRUE(Until([&] { return transport_failures_ == 0; }));
  dispatcher_->Reset(79);  // a later incarnation than the one that is still to come
  ASSERT_TRUE(Until([&] { return router_life_ == 79; }));
  EXPECT_TRUE(Run(3).ok());
}

}  // namespace
}  // namespace switchyard::testing
