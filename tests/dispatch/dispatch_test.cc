// The differential oracle of the data path: whatever the hosts, losses and faults, the rows are the
// bits that the definition gives.

#include <gtest/gtest.h>

#include "tests/dispatch/dispatch_world.h"

namespace switchyard::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Dispatch : public ::testing::TestWithParam<kernels::NumericsClass> {
 protected:
  static WorldShape Shape() { return {.numerics = GetParam()}; }

  // Runs many layers and compares each with the definition.
  static void ExpectExact(DispatchWorld& world, int runs, int64_t rows, uint32_t seed = 1) {
    for (int run = 0; run < runs; ++run) {
      const LayerInput input = world.MakeInput(run % 2, rows, seed + run);
      const auto got = world.Run(input, seconds(30));
      ASSERT_TRUE(got.ok()) << got.status();
      ASSERT_EQ(*got, world.Expected(input)) << "run " << run;
    }
  }
};

TEST_P(Dispatch, AnyNumberOfHostsGivesTheSameRows) {
  for (const uint32_t hosts : {1u, 2u, 3u}) {
    DispatchWorld world(Shape());
    for (uint32_t host = 0; host < hosts; ++host) world.StartHost(host, host, hosts);
    world.Publish();
    world.WaitUntilReady();
    ExpectExact(world, 4, 1);
    ExpectExact(world, 2, 40);  // several frames a host
  }
}

TEST_P(Dispatch, ALostHostIsReplacedByItsReplica) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.StartHost(1);
  world.Publish();
  world.WaitUntilReady();
  const LayerInput input = world.MakeInput(0, 24, 3);
  world.dispatcher().Begin(world.Request(input, seconds(30)));
  world.KillHost(0);
  absl::Status status;
  while (!world.dispatcher().Finished(0, &status)) {
    world.dispatcher().Wait(Clock::Real().Now() + milliseconds(20));
  }
  EXPECT_TRUE(status.ok()) << status;
  ExpectExact(world, 4, 5);
}

TEST_P(Dispatch, AKilledHostComesBackUnderANewIncarnation) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.Publish();
  world.WaitUntilReady();
  ExpectExact(world, 2, 3);
  world.KillHost(0);
  world.StartHost(0);
  world.Publish();
  ExpectExact(world, 2, 3);
}

TEST_P(Dispatch, FaultsChangeNoBit) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.StartHost(1);
  world.Publish();
  world.WaitUntilReady();
  world.network().SetFaults({.delay = 0.1, .duplicate = 0.2, .reorder = 0.2});
  ExpectExact(world, 40, 20);
  const transport::FaultCounts faults = world.network().faults();
  EXPECT_GT(faults.delayed, 0u);
  EXPECT_GT(faults.duplicated, 0u);
  EXPECT_GT(faults.reordered, 0u);
}

TEST_P(Dispatch, LostAndDamagedFramesAreSentAgain) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.StartHost(1);
  world.Publish();
  world.WaitUntilReady();
  world.network().SetFaults({.drop = 0.05, .truncate = 0.05, .corrupt = 0.05});
  // The faults differ from run to run: until there was one of each kind.
  const auto all = [&] {
    const transport::FaultCounts faults = world.network().faults();
    return faults.dropped > 0 && faults.truncated > 0 && faults.corrupted > 0;
  };
  for (uint32_t round = 0; round < 50 && (round < 3 || !all()); ++round) {
    ExpectExact(world, 2, 20, 2 * round + 1);
  }
  EXPECT_TRUE(all());
  EXPECT_GT(world.dispatcher().Counters().redispatched_assignments, 0u);
}

TEST_P(Dispatch, WithoutAnOwnerTheErrorNamesTheExperts) {
  DispatchWorld world(Shape());
  world.StartHost(0, 0, 2);  // only even experts
  world.Publish();
  const LayerInput input = world.MakeInput(1, 8, 1);
  const auto got = world.Run(input, milliseconds(300));
  EXPECT_EQ(got.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(got.status().message().find("layer 1"), std::string_view::npos) << got.status();
  EXPECT_NE(got.status().message().find("owns expert 1"), std::string_view::npos) << got.status();
  EXPECT_FALSE(world.dispatcher().Ready());
}

TEST_P(Dispatch, RowsThatFailedInTheRouterAreNotSent) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.Publish();
  LayerInput input = world.MakeInput(0, 2, 1);
  input.experts[0] = input.experts[1] = -1;
  world.dispatcher().Begin(world.Request(input, seconds(30)));
  absl::Status status;
  while (!world.dispatcher().Finished(0, &status)) {
    world.dispatcher().Wait(Clock::Real().Now() + milliseconds(20));
  }
  ASSERT_TRUE(status.ok()) << status;
  const router::DispatchResult result = world.dispatcher().Result(0);
  EXPECT_EQ(result[0], nullptr);
  EXPECT_EQ(result[1], nullptr);
  EXPECT_NE(result[2], nullptr);
}

TEST_P(Dispatch, AStrangerRouterSendsEverythingAgain) {
  DispatchWorld world(Shape());
  world.StartHost(0);
  world.Publish();
  world.WaitUntilReady();
  const LayerInput input = world.MakeInput(0, 24, 3);
  world.dispatcher().Begin(world.Request(input, seconds(30)));
  world.dispatcher().Reset(78);
  absl::Status status;
  while (!world.dispatcher().Finished(0, &status)) {
    world.dispatcher().Wait(Clock::Real().Now() + milliseconds(20));
  }
  EXPECT_TRUE(status.ok()) << status;
  ExpectExact(world, 2, 3);
}

INSTANTIATE_TEST_SUITE_P(Classes, Dispatch,
                         ::testing::Values(kernels::NumericsClass::kFp32,
                                           kernels::NumericsClass::kBf16),
                         [](const auto& info) { return std::string(kernels::Name(info.param)); });

}  // namespace
}  // namespace switchyard::testing
