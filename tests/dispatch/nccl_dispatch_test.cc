// The data path with payloads by the NCCL backend: the same rows, whatever is lost.

#include <gtest/gtest.h>

#include <utility>

#include "kernels/cuda/fake_gpu_links.h"
#include "services/transport/nccl.h"
#include "tests/dispatch/dispatch_world.h"

namespace switchyard::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// With deadlines so short that what the faults break is soon noticed.
std::unique_ptr<transport::Transport> OverNccl(std::unique_ptr<transport::Transport> headers) {
  return transport::MakeNcclTransport(
      std::move(headers), kernels::MakeFakeGpuLinks(),
      {.open_timeout = milliseconds(500), .transfer_timeout = milliseconds(500)});
}

void ExpectExact(DispatchWorld& world, int runs, int64_t rows, uint32_t seed) {
  for (int run = 0; run < runs; ++run) {
    const LayerInput input = world.MakeInput(run % 2, rows, seed + run);
    const auto got = world.Run(input, seconds(60));
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(*got, world.Expected(input)) << "run " << run;
  }
}

TEST(NcclDispatchTest, SeveralHostsGiveTheSameRows) {
  DispatchWorld world({}, OverNccl);
  for (uint32_t host = 0; host < 3; ++host) world.StartHost(host, host, 3);
  world.Publish();
  world.WaitUntilReady();
  ExpectExact(world, 4, 1, 1);
  ExpectExact(world, 4, 40, 2);  // several frames a host
}

TEST(NcclDispatchTest, AHostThatDiesIsReplacedAndItsSuccessorGetsNewLinks) {
  DispatchWorld world({}, OverNccl);
  world.StartHost(0);
  world.StartHost(1);
  world.Publish();
  world.WaitUntilReady();
  const LayerInput input = world.MakeInput(0, 24, 3);
  world.dispatcher().Begin(world.Request(input, seconds(60)));
  world.KillHost(0);
  absl::Status status;
  while (!world.dispatcher().Finished(0, &status)) {
    world.dispatcher().Wait(Clock::Real().Now() + milliseconds(20));
  }
  EXPECT_TRUE(status.ok()) << status;
  ExpectExact(world, 2, 20, 5);
  world.KillHost(1);
  world.StartHost(0);
  world.Publish();
  ExpectExact(world, 2, 20, 7);
}

// Each loses a channel, since later payloads would else be taken for earlier ones.
TEST(NcclDispatchTest, LostAndDamagedAnnouncementsChangeNoBit) {
  DispatchWorld world({}, OverNccl);
  world.StartHost(0);
  world.StartHost(1);
  world.Publish();
  world.WaitUntilReady();
  world.network().SetFaults({.drop = 0.01, .duplicate = 0.01, .corrupt = 0.01});
  const auto all = [&] {
    const transport::FaultCounts faults = world.network().faults();
    return faults.dropped > 0 && faults.duplicated > 0 && faults.corrupted > 0 &&
           world.dispatcher().Counters().hosts_lost > 0;
  };
  for (uint32_t round = 0; round < 50 && !all(); ++round) {
    ExpectExact(world, 2, 20, 2 * round + 1);
  }
  EXPECT_TRUE(all());
}

}  // namespace
}  // namespace switchyard::testing
