// What the engine does when experts, deadlines or numbers fail.

#include <thread>

#include "gtest/gtest.h"
#include "router_service/testing/engine_world.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(EngineFaultsTest, LostExpertsFailTheirRequestsWithTheReason) {
  World world({.expert_timeout = milliseconds(50)});
  world.dispatcher().held = true;
  const auto lost = world.Start({.prompt = Ids(20, 2)});
  ASSERT_TRUE(lost->WaitEnd());
  EXPECT_TRUE(absl::IsUnavailable(lost->status)) << lost->status;
  EXPECT_NE(lost->status.message().find("expert 1"), std::string::npos) << lost->status;
  EXPECT_TRUE(lost->tokens.empty());
  world.dispatcher().held = false;
  EXPECT_TRUE(world.Run(MixedRequests(1)[0])->status.ok());
}

TEST(EngineFaultsTest, ARequestWaitsForLostExpertsNoLongerThanItsDeadline) {
  World world({.expert_timeout = seconds(1000)});
  world.dispatcher().held = true;
  const auto patient = world.Start({.prompt = Ids(20, 2), .max_tokens = 2});
  const auto hurried =
      world.Start({.prompt = Ids(20, 3), .deadline = Clock::Real().Now() + milliseconds(50)});
  ASSERT_TRUE(hurried->WaitEnd());
  EXPECT_FALSE(hurried->status.ok());
  world.dispatcher().held = false;
  ASSERT_TRUE(patient->WaitEnd());
  EXPECT_TRUE(patient->status.ok()) << patient->status;
}

TEST(EngineFaultsTest, ADeadlineEndsAWaitingRequest) {
  World world({.scheduler = {.max_running = 1}});
  world.dispatcher().held = true;
  uint64_t first = 0;
  world.Start({.prompt = {1}, .max_tokens = 200, .ignore_end_tokens = true}, &first);
  const auto waiting =
      world.Start({.prompt = {1}, .deadline = Clock::Real().Now() + milliseconds(20)});
  ASSERT_TRUE(waiting->WaitEnd());
  EXPECT_TRUE(absl::IsDeadlineExceeded(waiting->status)) << waiting->status;
  world.engine().Cancel(first);
}

TEST(EngineFaultsTest, NotANumberFailsItsRequestOnly) {
  World world;
  const std::vector<GenerateParameters> requests = MixedRequests(4);
  std::vector<std::shared_ptr<Generated>> sinks;
  for (const GenerateParameters& request : requests) sinks.push_back(world.Start(request));
  const auto poisoned = world.Start({.prompt = {1, 2, kPoisonToken, 3}});
  ASSERT_TRUE(poisoned->WaitEnd());
  EXPECT_EQ(poisoned->status.code(), absl::StatusCode::kInternal) << poisoned->status;
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->WaitEnd());
    ExpectSame(*sinks[i], *AnswersOneAtATime()[i]);
  }
}

TEST(EngineFaultsTest, StoppingFailsWhatIsLeft) {
  World world;
  world.dispatcher().held = true;
  const auto running = world.Start({.prompt = Ids(100, 2)});
  EXPECT_FALSE(world.engine().Drain(milliseconds(20)));
  world.Stop();
  ASSERT_TRUE(running->WaitEnd());
  EXPECT_TRUE(absl::IsUnavailable(running->status));
}

// A request that keeps the only micro-batch away, so that what comes next goes into one together.
uint64_t Block(World& world) {
  uint64_t id = 0;
  world.dispatcher().held = true;
  world.Start({.prompt = {1}, .max_tokens = 200, .ignore_end_tokens = true}, &id);
  EXPECT_TRUE(world.WaitStatus([](const EngineStatus& s) { return s.running == 1; }));
  return id;
}

bool WaitWaiting(World& world, int64_t count) {
  return world.WaitStatus([count](const EngineStatus& s) { return s.waiting == count; });
}

TEST(EngineFaultsTest, ADeadlineEndsItsRequestAndNotItsNeighbours) {
  World world({.micro_batches = 1, .expert_timeout = seconds(1000)});
  const uint64_t blocker = Block(world);
  const auto hurried =
      world.Start({.prompt = {1, 2}, .deadline = Clock::Real().Now() + milliseconds(500)});
  const auto patient = world.Start({.prompt = {1, 3}, .max_tokens = 2, .ignore_end_tokens = true});
  ASSERT_TRUE(WaitWaiting(world, 2));
  world.engine().Cancel(blocker);
  ASSERT_TRUE(hurried->WaitEnd());
  EXPECT_TRUE(absl::IsDeadlineExceeded(hurried->status)) << hurried->status;
  const int begun = world.dispatcher().begun;
  world.dispatcher().held = false;
  ASSERT_TRUE(patient->WaitEnd());
  EXPECT_TRUE(patient->status.ok()) << patient->status;
  EXPECT_EQ(patient->tokens.size(), 2u);
  // The other layer of the prompt and two of a token: nothing was computed again.
  EXPECT_EQ(world.dispatcher().begun, begun + 3);
}

TEST(EngineFaultsTest, ALayerThatTimedOutIsTriedAgain) {
  World world;
  world.dispatcher().failure = absl::StatusCode::kDeadlineExceeded;
  world.dispatcher().failures = 3;
  const auto answer = world.Run(MixedRequests(1)[0]);
  ExpectSame(*answer, *AnswersOneAtATime()[0]);
  EXPECT_EQ(world.dispatcher().failures, 0);
}

TEST(EngineFaultsTest, EveryLayerHasTheWholeExpertTimeout) {
  World world({.expert_timeout = seconds(77)});
  const auto answer = world.Start({.prompt = {1}, .deadline = Clock::Real().Now() + seconds(60)});
  ASSERT_TRUE(answer->WaitEnd());
  EXPECT_EQ(world.dispatcher().timeout.load(), seconds(77)) << "nobody's deadline shortens it";
}

TEST(EngineFaultsTest, AnErrorThatWaitingDoesNotMendFailsAtOnce) {
  World world;
  world.dispatcher().failure = absl::StatusCode::kInternal;
  world.dispatcher().failures = 1;
  EXPECT_EQ(world.Run({.prompt = {1, 2}})->status.code(), absl::StatusCode::kInternal);
}

TEST(EngineFaultsTest, AnExpertThatOverflowsFailsItsRequestOnly) {
  World world({.micro_batches = 1});
  const uint64_t blocker = Block(world);
  const auto bad = world.Start({.prompt = {3}, .max_tokens = 1});
  const auto good = world.Start({.prompt = {4}, .max_tokens = 1, .ignore_end_tokens = true});
  ASSERT_TRUE(WaitWaiting(world, 2));
  world.dispatcher().not_finite_row = 0;
  world.engine().Cancel(blocker);
  world.dispatcher().held = false;
  ASSERT_TRUE(bad->WaitEnd());
  EXPECT_EQ(bad->status.code(), absl::StatusCode::kInternal) << bad->status;
  EXPECT_NE(bad->status.message().find("an expert overflowed"), std::string::npos) << bad->status;
  ASSERT_TRUE(good->WaitEnd());
  EXPECT_TRUE(good->status.ok()) << good->status;
}

TEST(EngineFaultsTest, ARequestThatComesWhileWakesAreTakenUpIsNotSleptOver) {
  World world;
  std::shared_ptr<Generated> sink;
  std::atomic<bool> started{false};
  world.dispatcher().OnNextPoll([&] {
    sink = world.Start({.prompt = {1, 2}, .max_tokens = 1});
    started = true;
  });
  while (!started) std::this_thread::sleep_for(milliseconds(1));
  ASSERT_TRUE(sink->WaitEnd());
  EXPECT_EQ(world.dispatcher().waits_since_poll, 0);
}

TEST(EngineFaultsTest, AFailureIsLoggedUnderTheClientsName) {
  ::testing::internal::CaptureStderr();
  {
    World world;
    world.dispatcher().failure = absl::StatusCode::kInternal;
    world.dispatcher().failures = 1;
    world.Run({.request_id = "cmpl-17", .prompt = {1, 2}});
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("request cmpl-17 failed: layer 0: expert 1 has no owner"), std::string::npos)
      << log;
}

}  // namespace
}  // namespace switchyard::router
