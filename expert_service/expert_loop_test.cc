// What an expert host does with frames and channels that no sound router worker would send.

#include "expert_service/expert_loop.h"

#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "services/transport/frame.h"
#include "services/transport/loopback.h"

namespace switchyard::expert {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using transport::Assignment;
using transport::FrameHeader;
using transport::Refusal;

constexpr uint32_t kHidden = 16;
constexpr uint32_t kRowBytes = kHidden * sizeof(float);
constexpr uint32_t kExperts = 4;
constexpr uint32_t kUnloaded = 3;  // of the model, but not held by this host
constexpr uint32_t kHuge = ~0u;
constexpr transport::SlotLayout kLayout{
    .rows = 8, .row_bytes = kRowBytes, .metadata_bytes = 8 * 12, .slots = 4};

TimePoint Soon() { return Clock::Real().Now() + seconds(30); }

std::shared_ptr<const kernels::ExpertWeights> OneExpert() {
  const std::vector<float> values(kHidden * kHidden, 0.25f);
  const auto matrix = [&] {
    kernels::PackedMatrix packed(kernels::NumericsClass::kFp32, kHidden, kHidden);
    packed.PackRows(0, kHidden, values.data(), kernels::DType::kFloat32);
    return packed;
  };
  auto weights = std::make_shared<kernels::ExpertWeights>();
  weights->gate = matrix();
  weights->up = matrix();
  weights->down = matrix();
  return weights;
}

class ExpertLoopTest : public ::testing::Test {
 protected:
  ExpertLoopTest() {
    Experts held;
    for (uint32_t expert = 0; expert < kUnloaded; ++expert) held[{1, expert}] = OneExpert();
    store_.Insert(std::move(held));
    auto loop = ExpertLoop::Start({.transport = [this](uint64_t life)
                                       -> absl::StatusOr<std::unique_ptr<transport::Transport>> {
                                     if (transport_fails_) return absl::InternalError("no memory");
                                     return network_.Start(2, life);
                                   },
                                   .member = 2,
                                   .incarnation = 22,
                                   .model_digest = 5,
                                   .hidden = kHidden,
                                   .experts_per_layer = {0, kExperts},
                                   .store = &store_,
                                   .device = &device_});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  void Open() {
    const auto host = loop_->OpenChannel(router_->address(), kLayout, 99, Soon());
    ASSERT_TRUE(host.ok()) << host.status();
    channel_ = *router_->Open(*host, kLayout, 99);
    ASSERT_TRUE(Until([&] { return channel_->state() == transport::ChannelState::kOpen; }));
  }

  bool Until(const std::function<bool()>& condition) {
    const TimePoint deadline = Soon();
    while (!condition()) {
      if (Clock::Real().Now() >= deadline) return false;
      router_->Wait(Clock::Real().Now() + milliseconds(5));
    }
    return true;
  }

  static FrameHeader Dispatch() {
    return {.model_digest = 5,
            .weights_version = 1,
            .batch = 7,
            .layer = 1,
            .time_left_us = 30'000'000,
            .rows = 1,
            .row_bytes = kRowBytes};
  }

  // Sends a dispatch and gives the header of what comes back. Rows of the payload are ones.
  FrameHeader Answer(FrameHeader header, const std::vector<Assignment>& assignments) {
    std::unique_ptr<transport::SendSlot> slot;
    EXPECT_TRUE(Until([&] { return (slot = channel_->TryAcquire()) != nullptr; }));
    const std::vector<float> ones(kLayout.rows * kHidden, 1.0f);
    std::memcpy(slot->payload().data(), ones.data(), slot->payload().size());
    transport::EncodeAssignments(assignments, slot->metadata());
    if (header.metadata_bytes == 0) {
      header.metadata_bytes =
          static_cast<uint32_t>(assignments.size() * transport::kAssignmentBytes);
    }
    const absl::Status sent = channel_->Send(std::move(slot), header);
    EXPECT_TRUE(sent.ok()) << sent;
    std::unique_ptr<transport::ReceivedFrame> frame;
    EXPECT_TRUE(Until([&] { return (frame = channel_->TryReceive()) != nullptr; }));
    return frame == nullptr ? FrameHeader{} : frame->header();
  }

  void ExpectRefused(Refusal reason, const std::function<void(FrameHeader&)>& spoil,
                     const std::vector<Assignment>& assignments = {{0, 0, 1}}) {
    FrameHeader header = Dispatch();
    spoil(header);
    const uint64_t before = loop_->Counters().frames_refused;
    const FrameHeader answer = Answer(header, assignments);
    EXPECT_EQ(answer.direction, transport::Direction::kRefusal);
    EXPECT_EQ(answer.refusal, reason);
    EXPECT_EQ(answer.batch, 7u) << "it names the dispatch that it refuses";
    EXPECT_EQ(answer.rows, 0u);
    EXPECT_EQ(loop_->Counters().frames_refused, before + 1);
  }

  void ExpectServes() {
    const FrameHeader answer = Answer(Dispatch(), {{0, 0, 1}, {0, 2, 0.5f}});
    EXPECT_EQ(answer.direction, transport::Direction::kCombine);
    EXPECT_EQ(answer.rows, 2u);
  }

  kernels::ThreadPool pool_{1};
  kernels::CpuDevice device_{pool_};
  std::atomic<bool> transport_fails_{false};
  ExpertStore store_;
  transport::LoopbackNetwork network_;
  std::unique_ptr<ExpertLoop> loop_;
  std::unique_ptr<transport::Transport> router_ = network_.Start(1, 11);
  std::unique_ptr<transport::Channel> channel_;
};

void Nothing(FrameHeader&) {}

TEST_F(ExpertLoopTest, MalformedDispatchesAreRefusedAndCountedAndTheHostGoesOn) {
  Open();
  if (HasFatalFailure()) return;
  const Refusal malformed = Refusal::kMalformed;
  ExpectRefused(malformed, Nothing, {{0, kExperts, 1}});
  ExpectRefused(malformed, Nothing, {{0, 0, 1}, {0, kHuge, 1}});
  ExpectRefused(malformed, Nothing, {{1, 0, 1}});
  ExpectRefused(malformed, Nothing, {{kHuge, 0, 1}});
  ExpectRefused(malformed, Nothing, {{0, 0, std::numeric_limits<float>::quiet_NaN()}});
  ExpectRefused(malformed, Nothing, {});
  ExpectRefused(malformed, [](FrameHeader& h) { h.metadata_bytes = 11; });
  ExpectRefused(malformed, [](FrameHeader& h) { h.rows = 0; });
  ExpectRefused(malformed, [](FrameHeader& h) { h.row_bytes = kRowBytes - 4; });
  ExpectRefused(malformed, [](FrameHeader& h) { h.layer = 0; });  // dense: no experts
  ExpectRefused(malformed, [](FrameHeader& h) { h.layer = 2; });
  ExpectRefused(malformed, [](FrameHeader& h) { h.layer = kHuge; });
  ExpectRefused(malformed, [](FrameHeader& h) { h.direction = transport::Direction::kCombine; });
  ExpectServes();
}

TEST_F(ExpertLoopTest, TheLogSaysWhatWasWrongAndWhoSentIt) {
  Open();
  if (HasFatalFailure()) return;
  ::testing::internal::CaptureStderr();
  ExpectRefused(Refusal::kMalformed, Nothing, {{0, kExperts, 1}});
  ExpectRefused(Refusal::kWrongModel, [](FrameHeader& h) { h.model_digest = 0xabc; });
  ExpectRefused(Refusal::kMalformed, [](FrameHeader& h) { h.layer = 2; });
  ExpectRefused(Refusal::kMalformed, [](FrameHeader& h) { h.layer = 7; });
  const std::string log = ::testing::internal::GetCapturedStderr();
  for (const char* text :
       {"refused a dispatch of router worker 1, 1 so far: dispatch frame: assignment 0 names row 0 "
        "of 1, expert 4 of 4, weight 1",
        "2 so far: it is for model abc version 1 class fp32, here are 5, 1 and fp32",
        "4 so far: dispatch frame: layer 7 of 2"}) {
    EXPECT_NE(log.find(text), std::string::npos) << text << "\n" << log;
  }
  EXPECT_EQ(log.find("layer 2 of 2"), std::string::npos) << "every power of two only: " << log;
}

TEST_F(ExpertLoopTest, MoreAssignmentsThanTheAnswerHasRowsAreRefused) {
  transport::SlotLayout layout = kLayout;
  layout.metadata_bytes = 9 * 12;
  const auto host = loop_->OpenChannel(router_->address(), layout, 98, Soon());
  ASSERT_TRUE(host.ok()) << host.status();
  channel_ = *router_->Open(*host, layout, 98);
  ASSERT_TRUE(Until([&] { return channel_->state() == transport::ChannelState::kOpen; }));
  ExpectRefused(Refusal::kMalformed, Nothing, std::vector<Assignment>(9, {0, 0, 1}));
  ExpectServes();
}

TEST_F(ExpertLoopTest, DispatchesOfAnotherModelVersionOrClassAreRefused) {
  Open();
  if (HasFatalFailure()) return;
  ExpectRefused(Refusal::kWrongModel, [](FrameHeader& h) { h.model_digest = 6; });
  ExpectRefused(Refusal::kWrongModel, [](FrameHeader& h) { h.weights_version = 2; });
  ExpectRefused(Refusal::kWrongModel,
                [](FrameHeader& h) { h.numerics = kernels::NumericsClass::kBf16; });
  ExpectServes();
}

// A sender that acts on a placement of the past: what the host does not hold any more.
TEST_F(ExpertLoopTest, ExpertsThatMovedAwayAreRefusedAsNotOwned) {
  Open();
  if (HasFatalFailure()) return;
  ExpectRefused(Refusal::kNotOwned, [](FrameHeader& h) { h.epoch = 1; }, {{0, kUnloaded, 1}});
  const ExpertId moved{1, 0};
  store_.Erase({&moved, 1});
  ExpectRefused(Refusal::kNotOwned, Nothing, {{0, 2, 1}, {0, 0, 1}});
  EXPECT_EQ(Answer(Dispatch(), {{0, 2, 1}}).direction, transport::Direction::kCombine);
}

TEST_F(ExpertLoopTest, LateDispatchesAreRefusedAsExpired) {
  Open();
  if (HasFatalFailure()) return;
  ExpectRefused(Refusal::kExpired, [](FrameHeader& h) { h.time_left_us = 0; });
  ExpectServes();
}

TEST_F(ExpertLoopTest, RowsThatOverflowAreRefusedAndNotSent) {
  Open();
  if (HasFatalFailure()) return;
  const float large = std::numeric_limits<float>::max();
  ExpectRefused(Refusal::kNotFinite, Nothing, {{0, 0, 1}, {0, 1, large}});
  ExpectServes();
}

TEST_F(ExpertLoopTest, AnIdleHostDoesNotHoldWhatWasUnloaded) {
  Open();
  if (HasFatalFailure()) return;
  ExpectServes();
  const std::weak_ptr<const kernels::ExpertWeights> weights = store_.Snapshot()->at({1, 0});
  const ExpertId unloaded{1, 0};
  store_.Erase({&unloaded, 1});
  EXPECT_TRUE(Until([&] { return weights.expired(); }));
}

TEST_F(ExpertLoopTest, AResetThatFailsIsTriedAgainAndNobodyIsAdmittedMeanwhile) {
  Open();
  if (HasFatalFailure()) return;
  transport_fails_ = true;
  EXPECT_FALSE(loop_->Reset(23, Soon()).ok());
  EXPECT_TRUE(Until([&] { return channel_->state() == transport::ChannelState::kLost; }));
  const auto refused = loop_->OpenChannel(router_->address(), kLayout, 100, Soon());
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  transport_fails_ = false;
  absl::StatusOr<transport::PeerAddress> host;
  ASSERT_TRUE(Until([&] {
    host = loop_->OpenChannel(router_->address(), kLayout, 101, Soon());
    return host.ok();
  }));
  EXPECT_EQ(host->incarnation, 23u);
  channel_ = *router_->Open(*host, kLayout, 101);
  ASSERT_TRUE(Until([&] { return channel_->state() == transport::ChannelState::kOpen; }));
  ExpectServes();
}

TEST_F(ExpertLoopTest, LayoutsOutOfBoundsAreRefusedBeforeAnyMemoryIsTaken) {
  const auto refused = [&](const transport::SlotLayout& layout, const std::string& text) {
    const auto host = loop_->OpenChannel(router_->address(), layout, 97, Soon());
    EXPECT_EQ(host.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(host.status().message().find(text), std::string::npos) << host.status();
  };
  const auto with = [](auto change) {
    transport::SlotLayout layout = kLayout;
    change(layout);
    return layout;
  };
  using L = transport::SlotLayout;
  refused(with([](L& l) { l.row_bytes = kRowBytes + 4; }),
          "slot rows of 68 bytes offered, this model has 64");
  refused(with([](L& l) { l.rows = 0; }), "0 rows");
  refused(with([](L& l) { l.rows = kHuge; }), "4294967295 rows");
  refused(with([](L& l) { l.slots = 0; }), "0 slots");
  refused(with([](L& l) { l.slots = kHuge; }), "4294967295 slots");
  refused(with([](L& l) { l.slots = 65; }), "65 slots");
  refused(with([](L& l) { l.metadata_bytes = 8 * 12 - 1; }), "95 metadata bytes");
  refused(with([](L& l) { l.metadata_bytes = kHuge; }), "4294967295 metadata bytes");
  Open();
  if (!HasFatalFailure()) ExpectServes();
}

}  // namespace
}  // namespace switchyard::expert
