// Who is a member, what is refused, and what outlives the coordinator.

#include "coordinator/coordinator_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/testing/fake_cluster.h"

namespace switchyard::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST(CoordinatorState, RestartedHostTakesItsNameAtOnce) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.Kill("a");
  cluster.AddHost("a");  // within the lease of its former life, and empty
  cluster.Step();
  EXPECT_EQ(cluster.Owned("a"), 0u);
  cluster.Run(milliseconds(300));
  EXPECT_EQ(cluster.Owned("a"), 8u);
}

TEST(CoordinatorState, ADrainOutlivesTheCoordinator) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.AddHost("b", 0);  // has no room yet
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().Drain("a").ok());
  cluster.Run(milliseconds(200));
  cluster.StartCoordinator();
  cluster["b"].registration.set_memory_bytes(100'000);
  cluster.Run(seconds(10));
  EXPECT_EQ(cluster.Owned("b"), 8u);
  EXPECT_FALSE(cluster.view().HostIndex(runtime::MemberId("a")).has_value());
}

TEST(CoordinatorState, DrainingRouterWorkerGetsNoNewRequests) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.AddRouter("r");
  cluster.AddRouter("s");
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().Drain("r").ok());
  cluster.Run(milliseconds(200));
  ASSERT_EQ(cluster.view().router_workers().size(), 1);
  EXPECT_EQ(cluster.view().router_workers()[0].name(), "s");
}

TEST(CoordinatorState, RestartLearnsThePlacementAndMovesNothing) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 3});
  for (const char* name : {"a", "b", "c"}) cluster.AddHost(name);
  cluster.AddRouter("r");
  cluster.Run(seconds(1));
  const std::string before = cluster.view().placement().layers(0).SerializeAsString() +
                             cluster.view().placement().layers(1).SerializeAsString();
  const uint64_t epoch = cluster.epoch();
  cluster.loads = 0;
  cluster["a"].rows_per_second = 100;  // known by now, and no reason to move anything
  cluster["b"].rows_per_second = 1000;
  cluster["c"].rows_per_second = 1000;
  cluster.StopCoordinator();
  cluster.Run(seconds(60));
  cluster.StartCoordinator();
  cluster.Run(seconds(5));
  EXPECT_GT(cluster.epoch(), epoch);
  EXPECT_EQ(cluster.view().placement().layers(0).SerializeAsString() +
                cluster.view().placement().layers(1).SerializeAsString(),
            before);
  EXPECT_EQ(cluster.loads + cluster.unloads, 0u);
}

TEST(CoordinatorState, RestartWithoutAHostRepairsAfterTheGracePeriod) {
  FakeCluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.StopCoordinator();
  cluster.Kill("b");
  cluster.StartCoordinator();
  cluster.Run(seconds(5));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("a"), 8u);
}

TEST(CoordinatorState, EpochsStayAboveWhatAWatcherHasSeen) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().ObserveEpoch(500).ok());
  cluster.Step();
  EXPECT_EQ(cluster.epoch(), 501u);
  EXPECT_TRUE(absl::IsInvalidArgument(cluster.state().ObserveEpoch(UINT64_MAX)));
}

TEST(CoordinatorState, PausedMemberIsAStranger) {
  FakeCluster cluster({.replicas = 2, .min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  const uint64_t incarnation = cluster["a"].registration.member().incarnation();
  cluster["a"].running = false;
  cluster.Run(seconds(30));
  EXPECT_EQ(cluster.view().hosts().size(), 1);
  // The old incarnation is not let in again.
  EXPECT_TRUE(absl::IsNotFound(cluster.Register(cluster["a"])));
  cluster.loads = 0;
  cluster["a"].running = true;
  cluster.Run(seconds(1));
  EXPECT_NE(cluster["a"].registration.member().incarnation(), incarnation);
  EXPECT_EQ(cluster.Owned("a"), 8u);
  EXPECT_EQ(cluster.loads, 0u);  // it has its experts still
}

TEST(CoordinatorState, OwnPauseEndsNoLease) {
  FakeCluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  const uint64_t epoch = cluster.epoch();
  cluster["a"].running = false;
  cluster.JumpBy(seconds(20));
  EXPECT_EQ(cluster.epoch(), epoch);
  EXPECT_EQ(cluster.view().hosts().size(), 1);
}

TEST(CoordinatorState, RefusesWhatDoesNotFitAndSaysWhatWould) {
  FakeCluster cluster({.numerics = v1::NUMERICS_FP32});
  ASSERT_TRUE(cluster.Register(cluster.AddHost("a")).ok());

  FakeMember& other_class = cluster.AddHost("b");
  other_class.registration.clear_offered();
  other_class.registration.add_offered(v1::NUMERICS_BF16);
  absl::Status status = cluster.Register(other_class);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.ToString(), HasSubstr("b offers bf16"));
  EXPECT_THAT(status.ToString(), HasSubstr("only members that offer fp32 are admitted"));

  FakeCluster of_gpus({.numerics = v1::NUMERICS_BF16_SM90});
  status = of_gpus.Register(of_gpus.AddHost("c"));
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.ToString(), HasSubstr("members with --device cuda:N"));

  FakeMember& other_model = cluster.AddHost("b");
  other_model.registration.set_model_digest(kDigest + 1);
  status = cluster.Register(other_model);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.ToString(), HasSubstr("000000000000004e"));

  FakeMember& other_version = cluster.AddHost("b");
  other_version.registration.set_software_version("9.9");
  status = cluster.Register(other_version);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.ToString(), HasSubstr("'9.9'"));

  FakeMember& other_shape = cluster.AddHost("b");
  other_shape.registration.set_experts_per_layer(5);
  EXPECT_TRUE(absl::IsInvalidArgument(cluster.Register(other_shape)));
}

TEST(CoordinatorState, RefusesMalformedRegistrations) {
  auto refused = [](auto spoil) {
    FakeCluster cluster;
    FakeMember& host = cluster.AddHost("a");
    spoil(host.registration);
    return absl::IsInvalidArgument(cluster.state().Register(host.registration).status());
  };
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.mutable_member()->clear_name(); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.mutable_member()->set_id(5); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.mutable_member()->set_incarnation(0); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.mutable_member()->clear_role(); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.set_bytes_per_expert(0); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.clear_offered(); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.set_experts_per_layer(1 << 30); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.add_moe_layers(0); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) { r.set_last_epoch(UINT64_MAX); }));
  EXPECT_TRUE(refused([](v1::RegisterRequest& r) {
    r.add_loaded()->set_layer(2);
    r.mutable_loaded(0)->add_experts(0);
  }));
}

TEST(CoordinatorState, StatusNamesMissingExperts) {
  FakeCluster cluster;
  cluster.AddHost("a", 7);
  cluster.Run(seconds(1));
  const v1::ClusterStatus status = cluster.state().Status();
  EXPECT_EQ(status.members_size(), 1);
  EXPECT_EQ(status.members(0).loaded_experts(), 7u);
  ASSERT_EQ(status.missing_experts_size(), 1);
  const uint64_t missing = status.missing_experts(0);
  EXPECT_TRUE(
      cluster.Owners(static_cast<uint32_t>(missing >> 32), static_cast<uint32_t>(missing)).empty());
}

}  // namespace
}  // namespace switchyard::coordinator
