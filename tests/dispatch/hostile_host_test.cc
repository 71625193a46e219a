// A router worker's dispatcher in front of a host that answers wrongly: nothing of it may count.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
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

constexpr uint32_t kHidden = 16;
constexpr uint32_t kRowBytes = kHidden * sizeof(float);
constexpr uint64_t kHost = 100;
constexpr uint64_t kHostLife = 1;
constexpr float kRight = 3;
constexpr float kWrong = -7;

class HostileHostTest : public ::testing::Test {
 protected:
  HostileHostTest() {
    router::RemoteDispatcherOptions options;
    options.transport = [this](uint64_t incarnation) { return network_.Start(1, incarnation); };
    options.request_channel = [this](const v1::Member&, const transport::PeerAddress& router,
                                     const transport::SlotLayout& layout, uint64_t nonce) {
      std::lock_guard lock(mutex_);
      asked_ = {router, layout, nonce};
      return absl::StatusOr<transport::PeerAddress>(host_->address());
    };
    options.member = 1;
    options.incarnation = 77;
    options.model_digest = 5;
    options.hidden = kHidden;
    options.slot_assignments = 8;
    dispatcher_ = *router::RemoteDispatcher::Start(std::move(options));
    dispatcher_->SetPlacement(Placement());
  }

  static std::shared_ptr<const runtime::PlacementView> Placement() {
    v1::Placement placement;
    placement.set_epoch(9);
    v1::Member* member = placement.add_hosts();
    member->set_name("hostile");
    member->set_id(kHost);
    member->set_incarnation(kHostLife);
    v1::LayerPlacement* layer = placement.add_layers();
    layer->add_offsets(0);
    layer->add_hosts(0);
    layer->add_offsets(1);
    return *runtime::PlacementView::Parse(std::move(placement));
  }

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Clock::Real().Now() + seconds(30);
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      OpenWhenAsked();
      dispatcher_->Wait(Clock::Real().Now() + milliseconds(1));
    }
    return true;
  }

  void OpenWhenAsked() {
    std::lock_guard lock(mutex_);
    if (!asked_) return;
    channel_ = *host_->Open(asked_->router, asked_->layout, asked_->nonce);
    asked_.reset();
  }

  // Begins a layer of one row for expert 0 and gives the dispatch that came of it.
  FrameHeader Begin() {
    EXPECT_TRUE(Until([&] { return dispatcher_->Ready(); }));
    dispatcher_->Begin({.rows = 1,
                        .activations = reinterpret_cast<const std::byte*>(activations_.data()),
                        .experts = &expert_,
                        .weights = &weight_,
                        .timeout = seconds(30)});
    std::unique_ptr<transport::ReceivedFrame> frame;
    EXPECT_TRUE(Until([&] { return (frame = channel_->TryReceive()) != nullptr; }));
    FrameHeader header = frame == nullptr ? FrameHeader{} : frame->header();
    EXPECT_EQ(header.epoch, 9u);
    header.direction = Direction::kCombine;
    header.metadata_bytes = 0;
    return header;
  }

  void Send(const FrameHeader& header, float value) {
    std::unique_ptr<transport::SendSlot> slot;
    ASSERT_TRUE(Until([&] { return (slot = channel_->TryAcquire()) != nullptr; }));
    const std::vector<float> values(slot->payload().size() / sizeof(float), value);
    std::memcpy(slot->payload().data(), values.data(), slot->payload().size());
    const absl::Status sent = channel_->Send(std::move(slot), header);
    ASSERT_TRUE(sent.ok()) << sent;
  }

  uint64_t Stale() { return dispatcher_->Counters().stale_frames; }

  // An answer that differs from the right one: counted, and the layer still waits.
  void ExpectDropped(FrameHeader header, const std::function<void(FrameHeader&)>& spoil) {
    spoil(header);
    const uint64_t before = Stale();
    Send(header, kWrong);
    EXPECT_TRUE(Until([&] { return Stale() > before; }));
    absl::Status status;
    EXPECT_FALSE(dispatcher_->Finished(0, &status));
  }

  void ExpectFinishedRight() {
    absl::Status status;
    ASSERT_TRUE(Until([&] { return dispatcher_->Finished(0, &status); }));
    ASSERT_TRUE(status.ok()) << status;
    const auto* row = static_cast<const float*>(dispatcher_->Result(0)[0]);
    EXPECT_EQ(std::vector<float>(row, row + kHidden), std::vector<float>(kHidden, kRight));
  }

  struct Asked {
    transport::PeerAddress router;
    transport::SlotLayout layout;
    uint64_t nonce = 0;
  };

  const std::vector<float> activations_ = std::vector<float>(kHidden, 1.0f);
  const int32_t expert_ = 0;
  const float weight_ = 1;
  transport::LoopbackNetwork network_;
  std::unique_ptr<transport::Transport> host_ = network_.Start(kHost, kHostLife);
  std::unique_ptr<transport::Channel> channel_;
  std::mutex mutex_;  // the dispatcher asks from a thread of its own
  std::optional<Asked> asked_;
  std::unique_ptr<router::RemoteDispatcher> dispatcher_;
};

TEST_F(HostileHostTest, AnswersToNothingOutstandingAreDroppedAndCounted) {
  const FrameHeader right = Begin();
  const uint32_t huge = std::numeric_limits<uint32_t>::max();
  ExpectDropped(right, [](FrameHeader& h) { h.router_incarnation = 76; });
  ExpectDropped(right, [](FrameHeader& h) { ++h.batch; });
  ExpectDropped(right, [](FrameHeader& h) { --h.batch; });
  ExpectDropped(right, [](FrameHeader& h) { ++h.attempt; });
  ExpectDropped(right, [](FrameHeader& h) { ++h.part; });
  ExpectDropped(right, [](FrameHeader& h) { ++h.layer; });
  ExpectDropped(right, [](FrameHeader& h) { h.micro_batch = 1; });
  ExpectDropped(right, [=](FrameHeader& h) { h.micro_batch = huge; });
  ExpectDropped(right, [](FrameHeader& h) { h.rows = 0; });
  ExpectDropped(right, [](FrameHeader& h) { h.rows = 2; });
  ExpectDropped(right, [](FrameHeader& h) { h.row_bytes = kRowBytes / 2, h.rows = 2; });
  ExpectDropped(right, [](FrameHeader& h) { h.direction = Direction::kDispatch; });
  Send(right, kRight);
  ExpectFinishedRight();
}

TEST_F(HostileHostTest, ASecondAnswerChangesNothing) {
  const FrameHeader first = Begin();
  Send(first, kRight);
  Send(first, kWrong);
  ExpectFinishedRight();
  EXPECT_TRUE(Until([&] { return Stale() == 1; }));
  ExpectFinishedRight();
  // Nor does it count for the next layer.
  const FrameHeader second = Begin();
  Send(first, kWrong);
  EXPECT_TRUE(Until([&] { return Stale() == 2; }));
  Send(second, kRight);
  ExpectFinishedRight();
}

TEST_F(HostileHostTest, ARefusalThatTryingAgainDoesNotMendNamesHostAndLayer) {
  for (const auto& [refusal, text] :
       {std::pair{transport::Refusal::kMalformed, "as malformed"},
        std::pair{transport::Refusal::kWrongModel, "as of another model"}}) {
    FrameHeader header = Begin();
    header.direction = Direction::kRefusal;
    header.refusal = refusal;
    header.rows = 0;
    Send(header, kWrong);
    absl::Status status;
    ASSERT_TRUE(Until([&] { return dispatcher_->Finished(0, &status); }));
    EXPECT_EQ(status.message(), std::string("hostile refused a dispatch of layer 0 ") + text);
  }
}

}  // namespace
}  // namespace switchyard::testing
