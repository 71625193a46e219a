// The coordinator over real gRPC, with real membership agents and fake expert hosts.

#include "coordinator/coordinator_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "proto/coordinator.grpc.pb.h"
#include "proto/expert_host.grpc.pb.h"
#include "services/base/version.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/health_client.h"
#include "services/runtime/membership.h"

namespace switchyard::coordinator {
namespace {

using runtime::MembershipAgent;
using runtime::PlacementView;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr uint32_t kExperts = 4;
constexpr Duration kLong = seconds(30);  // no test waits for it to pass

v1::RegisterRequest Registration(const std::string& name, v1::Role role,
                                 const std::string& address) {
  v1::RegisterRequest request;
  request.mutable_member()->set_name(name);
  request.mutable_member()->set_role(role);
  request.mutable_member()->set_control_address(address);
  request.set_software_version(kVersion);
  request.set_model_digest(1);
  request.add_offered(v1::NUMERICS_FP32);
  request.add_moe_layers(0);
  request.set_experts_per_layer(kExperts);
  request.set_memory_bytes(1000);
  request.set_bytes_per_expert(100);
  return request;
}

// Membership and control service of an expert host, without a data path.
class FakeHost : public v1::ExpertHost::Service {
 public:
  FakeHost(const std::string& name, const std::string& coordinator,
           const Clock* clock = &Clock::Real())
      : server_(*runtime::GrpcServer::Start(
            {.services = {{v1::ExpertHost::service_full_name(), this}}})),
        agent_({.coordinator_address = coordinator,
                .registration = Registration(name, v1::ROLE_EXPERT_HOST, server_.address()),
                .report = [this](v1::HeartbeatRequest& request) { Report(request); },
                .on_new_incarnation = [this](uint64_t) { ++new_incarnations; },
                .clock = clock}) {
    server_.SetServing(true);
  }

  MembershipAgent& agent() { return agent_; }
  size_t loaded() {
    std::lock_guard lock(mutex_);
    return loaded_.size();
  }

  grpc::Status LoadExperts(grpc::ServerContext*, const v1::LoadExpertsRequest* request,
                           v1::LoadExpertsResponse* response) override {
    ++orders;
    std::lock_guard lock(mutex_);
    for (const v1::LayerExperts& layer : request->experts()) {
      loaded_.insert(layer.experts().begin(), layer.experts().end());
    }
    *response->mutable_loaded() = List();
    return grpc::Status::OK;
  }

  grpc::Status UnloadExperts(grpc::ServerContext*, const v1::UnloadExpertsRequest* request,
                             v1::UnloadExpertsResponse* response) override {
    ++orders;
    std::lock_guard lock(mutex_);
    for (const v1::LayerExperts& layer : request->experts()) {
      for (const uint32_t expert : layer.experts()) loaded_.erase(expert);
    }
    *response->mutable_loaded() = List();
    return grpc::Status::OK;
  }

  std::atomic<int> orders = 0;
  std::atomic<int> new_incarnations = 0;
  std::atomic<bool> draining = false;

 private:
  void Report(v1::HeartbeatRequest& request) {
    std::lock_guard lock(mutex_);
    *request.mutable_loaded() = List();
    request.set_draining(draining);
  }

  google::protobuf::RepeatedPtrField<v1::LayerExperts> List() const {
    google::protobuf::RepeatedPtrField<v1::LayerExperts> list;
    if (!loaded_.empty()) list.Add()->mutable_experts()->Add(loaded_.begin(), loaded_.end());
    return list;
  }

  std::mutex mutex_;
  std::set<uint32_t> loaded_;  // of layer 0
  runtime::GrpcServer server_;
  MembershipAgent agent_;
};

CoordinatorOptions Options(uint32_t hosts, uint32_t replicas = 1) {
  // Long enough for a machine that does much else, short enough to lose members in a test.
  return {.replicas = replicas,
          .lease = seconds(1),
          .min_expert_hosts = hosts,
          .start_wait = kLong,
          .repair_delay = kLong};
}

bool Complete(const PlacementView& view) { return view.complete(); }

auto HasHosts(int hosts) {
  return [hosts](const PlacementView& view) {
    return view.complete() && view.hosts().size() == hosts;
  };
}

std::string Layers(const PlacementView& view) {
  return view.placement().layers(0).SerializeAsString();
}

TEST(CoordinatorServer, PlacesExpertsOnHostsAndTellsRouterWorkers) {
  auto coordinator = Coordinator::Start(Options(2));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status();
  MembershipAgent router(
      {.coordinator_address = coordinator->address(),
       .registration = Registration("r", v1::ROLE_ROUTER_WORKER, "127.0.0.1:1")});
  FakeHost a("a", coordinator->address());
  FakeHost b("b", coordinator->address());
  const auto model = router.WaitRegistered(kLong);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->numerics(), v1::NUMERICS_FP32);
  const auto placement = router.WaitFor(Complete, kLong);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(a.loaded(), kExperts / 2);
  EXPECT_EQ(b.loaded(), kExperts / 2);
  EXPECT_EQ((*placement)->hosts()[0].control_address(), a.agent().member().control_address());
}

TEST(CoordinatorServer, LostHostIsReplaced) {
  auto coordinator = Coordinator::Start(Options(2));
  ASSERT_TRUE(coordinator.ok());
  FakeHost a("a", coordinator->address());
  auto b = std::make_unique<FakeHost>("b", coordinator->address());
  ASSERT_TRUE(a.agent().WaitFor(HasHosts(2), kLong).ok());
  b.reset();
  ASSERT_TRUE(a.agent().WaitFor(HasHosts(1), kLong).ok());
  EXPECT_EQ(a.loaded(), kExperts);
  FakeHost again("b", coordinator->address());
  ASSERT_TRUE(a.agent().WaitFor(HasHosts(2), kLong).ok());
}

TEST(CoordinatorServer, DrainedHostHandsOver) {
  auto coordinator = Coordinator::Start(Options(2));
  ASSERT_TRUE(coordinator.ok());
  FakeHost a("a", coordinator->address());
  FakeHost b("b", coordinator->address());
  ASSERT_TRUE(b.agent().WaitFor(HasHosts(2), kLong).ok());
  b.draining = true;
  b.agent().HeartbeatNow();
  ASSERT_TRUE(b.agent().WaitFor(HasHosts(1), kLong).ok());
  EXPECT_EQ(a.loaded(), kExperts);
}

TEST(CoordinatorServer, RestartGoesUnnoticedAndLearnsThePlacement) {
  CoordinatorOptions options = Options(2, 2);
  options.lease = seconds(2);  // no member may lose it here
  auto coordinator = Coordinator::Start(options);
  ASSERT_TRUE(coordinator.ok());
  const std::string address = coordinator->address();
  FakeHost a("a", address);
  FakeHost b("b", address);
  const auto before = a.agent().WaitFor(
      [](const PlacementView& view) {
        return view.complete() && view.placement().layers(0).hosts_size() == 2 * kExperts;
      },
      kLong);
  ASSERT_TRUE(before.ok()) << before.status();
  const int orders = a.orders + b.orders;
  const uint64_t incarnation = a.agent().member().incarnation();

  { const Coordinator stopped = *std::move(coordinator); }
  std::this_thread::sleep_for(seconds(3));  // longer than the lease
  EXPECT_EQ(a.agent().Latest(), *before);
  options.address = address;
  coordinator = Coordinator::Start(options);
  ASSERT_TRUE(coordinator.ok()) << coordinator.status();
  const auto after = a.agent().WaitFor(
      [&](const PlacementView& view) {
        return view.epoch() > (*before)->epoch() && view.hosts().size() == 2;
      },
      kLong);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(Layers(**after), Layers(**before));
  EXPECT_EQ(a.orders + b.orders, orders);
  EXPECT_EQ(a.new_incarnations + b.new_incarnations, 0);
  EXPECT_EQ(a.agent().member().incarnation(), incarnation);
}

TEST(CoordinatorServer, PausedMemberComesBackAsAStranger) {
  auto coordinator = Coordinator::Start(Options(1));
  ASSERT_TRUE(coordinator.ok());
  ManualClock clock;
  FakeHost host("a", coordinator->address(), &clock);
  const auto before = host.agent().WaitFor(Complete, kLong);
  ASSERT_TRUE(before.ok());
  const uint64_t incarnation = host.agent().member().incarnation();
  clock.Advance(seconds(30));
  const auto after = host.agent().WaitFor(
      [&](const PlacementView& view) {
        return view.complete() && view.hosts()[0].incarnation() != incarnation;
      },
      kLong);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_GE(host.new_incarnations, 1);
  EXPECT_EQ(host.agent().member().incarnation(), (*after)->hosts()[0].incarnation());
}

TEST(CoordinatorServer, RefusedMemberLearnsWhy) {
  CoordinatorOptions options = Options(1);
  options.numerics = v1::NUMERICS_BF16;
  auto coordinator = Coordinator::Start(options);
  ASSERT_TRUE(coordinator.ok());
  FakeHost host("a", coordinator->address());  // offers fp32 only
  const auto model = host.agent().WaitRegistered(kLong);
  EXPECT_TRUE(absl::IsFailedPrecondition(model.status()));
  EXPECT_THAT(model.status().ToString(), HasSubstr("only members that offer bf16 are admitted"));
}

TEST(CoordinatorServer, AnswersHealthChecksAndStatus) {
  auto coordinator = Coordinator::Start(Options(1));
  ASSERT_TRUE(coordinator.ok());
  for (const std::string service : {"", "switchyard.v1.Coordinator"}) {
    const auto serving = runtime::IsServing(coordinator->address(), service, kLong);
    ASSERT_TRUE(serving.ok()) << serving.status();
    EXPECT_TRUE(*serving);
  }
  EXPECT_TRUE(absl::IsNotFound(
      runtime::IsServing(coordinator->address(), "switchyard.v1.Other", kLong).status()));

  FakeHost host("a", coordinator->address());
  ASSERT_TRUE(host.agent().WaitFor(Complete, kLong).ok());
  auto stub = v1::Coordinator::NewStub(runtime::NewChannel(coordinator->address()));
  v1::ClusterStatus status;
  const auto context = runtime::NewContext(kLong);
  ASSERT_TRUE(stub->Status(context.get(), {}, &status).ok());
  ASSERT_EQ(status.members_size(), 1);
  EXPECT_EQ(status.members(0).loaded_experts(), kExperts);
  EXPECT_TRUE(status.missing_experts().empty());
}

TEST(CoordinatorServer, PortIsNotShared) {
  auto coordinator = Coordinator::Start(Options(1));
  ASSERT_TRUE(coordinator.ok());
  CoordinatorOptions options = Options(1);
  options.address = coordinator->address();
  const auto second = Coordinator::Start(options);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(second.status().ToString(), HasSubstr(coordinator->address()));
}

}  // namespace
}  // namespace switchyard::coordinator
