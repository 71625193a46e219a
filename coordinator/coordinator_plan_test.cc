// Which host gets which experts when, as hosts come, go, drain and fail.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "coordinator/coordinator_state.h"
#include "coordinator/testing/fake_cluster.h"

namespace switchyard::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(CoordinatorPlan, FirstPlacementWaitsForTheExpectedHosts) {
  FakeCluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddRouter("r");
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.epoch(), 0u);
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("a"), 4u);
  EXPECT_EQ(cluster.Owned("b"), 4u);
  EXPECT_EQ(cluster.loads, 8u);  // nothing twice
  EXPECT_EQ(cluster.view().router_workers().size(), 1);
}

TEST(CoordinatorPlan, FirstPlacementDoesNotWaitForEver) {
  FakeCluster cluster({.min_expert_hosts = 3, .start_wait = seconds(4)});
  cluster.AddHost("a");
  cluster.Run(seconds(3));
  EXPECT_EQ(cluster.epoch(), 0u);
  cluster.Run(seconds(2));
  EXPECT_TRUE(cluster.view().complete());
}

TEST(CoordinatorPlan, DenseModelNeedsNoHosts) {
  FakeCluster cluster;
  FakeMember& router = cluster.AddRouter("r");
  router.registration.clear_moe_layers();
  router.registration.set_experts_per_layer(0);
  cluster.Run(seconds(1));
  ASSERT_GT(cluster.epoch(), 0u);
  EXPECT_EQ(cluster.view().router_workers().size(), 1);
}

TEST(CoordinatorPlan, LostHostLeavesTheNextEpochAtOnceAndReplicasGoOn) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.Kill("a");
  const uint64_t before = cluster.epoch();
  cluster.Run(milliseconds(2300));
  EXPECT_GT(cluster.epoch(), before);
  EXPECT_EQ(cluster.view().hosts().size(), 1);
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorPlan, ExpertsWithoutOwnerAreLoadedElsewhereAtOnce) {
  FakeCluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.Kill("a");
  cluster.Run(milliseconds(2500));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorPlan, ReplicasWaitForAHostThatComesBackSoon) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 3});
  for (const char* name : {"a", "b", "c"}) cluster.AddHost(name);
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.view().complete());
  const size_t on_others = cluster["a"].loaded.size() + cluster["b"].loaded.size();
  cluster.Kill("c");
  cluster.Run(seconds(3));
  EXPECT_EQ(cluster["a"].loaded.size() + cluster["b"].loaded.size(), on_others);
  cluster.AddHost("c");
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster["a"].loaded.size() + cluster["b"].loaded.size(), on_others);
  EXPECT_EQ(cluster.Owned("c"), 16 - on_others);
}

TEST(CoordinatorPlan, ReplicasAreLoadedElsewhereWhenAHostStaysAway) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 3});
  for (const char* name : {"a", "b", "c"}) cluster.AddHost(name);
  cluster.Run(seconds(1));
  cluster.Kill("c");
  cluster.Run(seconds(9));
  EXPECT_EQ(cluster.Owned("a"), 8u);
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorPlan, NewHostIsKnownFirstAndOwnsOnlyWhatItHasLoaded) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.AddRouter("r");
  cluster.Run(seconds(1));
  cluster.carry_out_orders = false;
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.view().hosts().size(), 2);
  EXPECT_EQ(cluster.Owned("b"), 0u);
  EXPECT_EQ(cluster.Owned("a"), 8u);
  cluster.carry_out_orders = true;
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.Owned("b"), 4u);
  EXPECT_EQ(cluster.Owned("a"), 4u);
  EXPECT_EQ(cluster.unloads, 4u);
}

TEST(CoordinatorPlan, OldCopyStaysWhileARouterWorkerUsesIt) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.AddRouter("r");
  cluster.Run(seconds(1));
  cluster["r"].holds_epoch = cluster.epoch();
  cluster.AddHost("b");
  cluster.Run(seconds(5));
  EXPECT_EQ(cluster.Owned("b"), 4u);
  EXPECT_EQ(cluster["a"].loaded.size(), 8u);
  cluster["r"].holds_epoch.reset();
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster["a"].loaded.size(), 4u);
}

TEST(CoordinatorPlan, FailedOrdersAreTriedAgain) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.carry_out_orders = false;
  cluster.Run(milliseconds(200));
  ASSERT_EQ(cluster.orders().size(), 1u);
  cluster.state().OrderDone(cluster.TakeOrder().id, absl::DeadlineExceededError("slow"));
  cluster.Step();
  EXPECT_EQ(cluster.orders().size(), 0u);  // not at once
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.orders().size(), 1u);
}

TEST(CoordinatorPlan, HostWithLessRoomThanItSaidIsNotAskedForMore) {
  FakeCluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.carry_out_orders = false;
  cluster.Run(milliseconds(200));
  ASSERT_EQ(cluster.orders().size(), 2u);
  const Order refused = cluster.TakeOrder();
  ASSERT_EQ(refused.host.name(), "a");
  cluster.state().OrderDone(refused.id, absl::ResourceExhaustedError("no memory"));
  cluster.carry_out_orders = true;
  cluster.Run(seconds(1));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorPlan, DrainedHostHandsOverBeforeItLeaves) {
  FakeCluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.carry_out_orders = false;
  cluster["a"].draining = true;
  cluster.Run(seconds(1));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("a"), 4u);
  cluster.carry_out_orders = true;
  cluster.Run(seconds(1));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("b"), 8u);
  EXPECT_FALSE(cluster.view().HostIndex(runtime::MemberId("a")).has_value());
}

TEST(CoordinatorPlan, HostDrainsOnlyWhenItsExpertsHaveAPlace) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().Drain("a").ok());
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.Owned("a"), 8u);
  EXPECT_TRUE(absl::IsNotFound(cluster.state().Drain("z")));
}

TEST(CoordinatorPlan, RoomIsCountedInTheClassThatThePoolRuns) {
  for (const auto& [numerics, experts] :
       {std::pair{v1::NUMERICS_FP32, 2u}, std::pair{v1::NUMERICS_BF16, 4u}}) {
    FakeCluster cluster({.numerics = numerics});
    FakeMember& host = cluster.AddHost("a", 2);
    host.registration.clear_offered();
    for (const auto& [offered, bytes] :
         {std::pair{v1::NUMERICS_BF16, 500}, std::pair{v1::NUMERICS_FP32, 1000}}) {
      host.registration.add_offered(offered);
      v1::ExpertSize* const size = host.registration.add_expert_sizes();
      size->set_numerics(offered);
      size->set_bytes(bytes);
    }
    cluster.Run(seconds(10));
    EXPECT_EQ(cluster["a"].loaded.size(), experts);
  }
}

// Whatever comes and goes, and when: the checks of Cluster hold in every step, and in the end all
// is placed. Hosts are small enough that some moves must free room first.
TEST(CoordinatorPlan, ThousandJoinsAndLeaves) {
  std::mt19937 random(7);
  auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  FakeCluster cluster({.replicas = 2});
  cluster.AddHost("host-0", 8);
  cluster.AddHost("host-1", 8);
  cluster.AddRouter("router-0");
  cluster.AddRouter("router-1");
  std::set<std::string> extra;
  for (int cycle = 0; cycle < 1000; ++cycle) {
    const std::string name = "host-" + std::to_string(2 + pick(4));
    cluster.carry_out_orders = pick(3) > 0;
    FakeMember& router = cluster["router-" + std::to_string(pick(2))];
    switch (pick(5)) {
      case 0:
        if (extra.erase(name) > 0) cluster.Kill(name);
        break;
      case 1:
        if (extra.contains(name)) cluster[name].running = !cluster[name].running;
        break;
      case 2:
        if (router.holds_epoch) {
          router.holds_epoch.reset();
        } else {
          router.holds_epoch = cluster.epoch();
        }
        break;
      case 3:
        if (pick(20) == 0) cluster.StartCoordinator();
        break;
      default:
        cluster.AddHost(name, 2 + pick(6));  // also in the place of a live one
        extra.insert(name);
    }
    cluster.Run(milliseconds(100 * (1 + pick(30))));
    if (testing::Test::HasFailure()) FAIL() << "cycle " << cycle;
  }
  for (const std::string& name : extra) cluster[name].running = true;
  for (const char* name : {"router-0", "router-1"}) cluster[name].holds_epoch.reset();
  cluster.carry_out_orders = true;
  cluster.Run(seconds(30));
  EXPECT_TRUE(cluster.view().complete());
  for (const uint32_t layer : kLayers) {
    for (uint32_t e = 0; e < kExperts; ++e) EXPECT_EQ(cluster.Owners(layer, e).size(), 2u);
  }
  EXPECT_TRUE(cluster.orders().empty());
}

}  // namespace
}  // namespace switchyard::coordinator
