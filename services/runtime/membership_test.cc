// The agent against a coordinator that says what the test tells it to.

#include "services/runtime/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "proto/coordinator.grpc.pb.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/identity.h"

namespace switchyard::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr Duration kLong = seconds(30);  // no test waits for it to pass

class FakeCoordinator : public v1::Coordinator::Service {
 public:
  explicit FakeCoordinator(std::string address = "127.0.0.1:0") {
    auto server = GrpcServer::Start({.address = std::move(address),
                                     .services = {{v1::Coordinator::service_full_name(), this}}});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<GrpcServer>(*std::move(server));
  }
  ~FakeCoordinator() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    server_.reset();
  }

  const std::string& address() const { return server_->address(); }

  // Answers of the next calls; OK when there are none.
  void Answer(std::deque<grpc::Status> registers, std::deque<grpc::Status> heartbeats) {
    std::lock_guard lock(mutex_);
    register_answers_ = std::move(registers);
    heartbeat_answers_ = std::move(heartbeats);
  }

  void Publish(uint64_t epoch, bool broken = false) {
    std::lock_guard lock(mutex_);
    v1::Placement& placement = placements_.emplace_back();
    placement.set_epoch(epoch);
    if (broken) placement.add_layers();  // without offsets
    changed_.notify_all();
  }

  // Once so many of them have come.
  std::vector<v1::RegisterRequest> Registrations(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return registers_.size() >= count; }));
    return registers_;
  }
  std::vector<v1::HeartbeatRequest> Heartbeats(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return heartbeats_.size() >= count; }));
    return heartbeats_;
  }

  std::atomic<bool> draining{false};  // what heartbeats are answered

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    std::lock_guard lock(mutex_);
    registers_.push_back(*request);
    changed_.notify_all();
    response->set_lease_ms(300);
    response->set_coordinator(5);
    response->mutable_model()->set_numerics(v1::NUMERICS_FP32);
    return Next(register_answers_);
  }

  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    std::lock_guard lock(mutex_);
    heartbeats_.push_back(*request);
    changed_.notify_all();
    response->set_draining(draining);
    return Next(heartbeat_answers_);
  }

  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::Placement>* writer) override {
    std::unique_lock lock(mutex_);
    size_t written = 0;
    while (!stopping_ && !context->IsCancelled()) {
      changed_.wait_for(lock, milliseconds(20));
      for (; written < placements_.size(); ++written) writer->Write(placements_[written]);
    }
    return {grpc::StatusCode::UNAVAILABLE, "gone"};
  }

 private:
  static grpc::Status Next(std::deque<grpc::Status>& answers) {
    if (answers.empty()) return grpc::Status::OK;
    grpc::Status status = answers.front();
    answers.pop_front();
    return status;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::deque<grpc::Status> register_answers_;
  std::deque<grpc::Status> heartbeat_answers_;
  std::vector<v1::RegisterRequest> registers_;
  std::vector<v1::HeartbeatRequest> heartbeats_;
  std::deque<v1::Placement> placements_;
  std::unique_ptr<GrpcServer> server_;
};

MembershipOptions Options(const std::string& address) {
  MembershipOptions options{.coordinator_address = address};
  options.registration.mutable_member()->set_name("a");
  options.registration.mutable_member()->set_role(v1::ROLE_ROUTER_WORKER);
  options.registration.add_offered(v1::NUMERICS_BF16);
  options.registration.add_offered(v1::NUMERICS_FP32);
  return options;
}

const grpc::Status kNotFound(grpc::StatusCode::NOT_FOUND, "lease over");
const grpc::Status kAborted(grpc::StatusCode::ABORTED, "another coordinator");
const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "busy");
const grpc::Status kRefused(grpc::StatusCode::FAILED_PRECONDITION, "wrong model");

TEST(Membership, RegistersAndRenewsItsLease) {
  FakeCoordinator coordinator;
  MembershipOptions options = Options(coordinator.address());
  options.report = [](v1::HeartbeatRequest& request) { request.set_rows_per_second(7); };
  MembershipAgent agent(std::move(options));
  const auto model = agent.WaitRegistered(kLong);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->numerics(), v1::NUMERICS_FP32);
  const auto registrations = coordinator.Registrations(1);
  EXPECT_EQ(registrations[0].member().id(), MemberId("a"));
  EXPECT_EQ(registrations[0].member().incarnation(), agent.member().incarnation());
  for (const v1::HeartbeatRequest& heartbeat : coordinator.Heartbeats(3)) {
    EXPECT_EQ(heartbeat.id(), MemberId("a"));
    EXPECT_EQ(heartbeat.incarnation(), agent.member().incarnation());
    EXPECT_EQ(heartbeat.coordinator(), 5u);
    EXPECT_EQ(heartbeat.rows_per_second(), 7);
  }
}

TEST(Membership, LostLeaseMakesItAStranger) {
  FakeCoordinator coordinator;
  coordinator.Answer({}, {grpc::Status::OK, kNotFound});
  std::atomic<uint64_t> told = 0;
  MembershipOptions options = Options(coordinator.address());
  options.on_new_incarnation = [&](uint64_t incarnation) { told = incarnation; };
  MembershipAgent agent(std::move(options));
  const auto registrations = coordinator.Registrations(2);
  EXPECT_NE(registrations[1].member().incarnation(), registrations[0].member().incarnation());
  EXPECT_EQ(registrations[1].member().incarnation(), told);
}

TEST(Membership, AnotherCoordinatorLearnsOfTheSameIncarnation) {
  FakeCoordinator coordinator;
  coordinator.Answer({}, {grpc::Status::OK, kAborted});
  MembershipOptions options = Options(coordinator.address());
  options.on_new_incarnation = [&](uint64_t) { ADD_FAILURE(); };
  MembershipAgent agent(std::move(options));
  const auto registrations = coordinator.Registrations(2);
  EXPECT_EQ(registrations[1].member().incarnation(), registrations[0].member().incarnation());
  // Its weights are in the pool's class by now.
  EXPECT_THAT(registrations[0].offered(), ElementsAre(v1::NUMERICS_BF16, v1::NUMERICS_FP32));
  EXPECT_THAT(registrations[1].offered(), ElementsAre(v1::NUMERICS_FP32));
}

TEST(Membership, ADrainIsReportedFromThenOnToAnyCoordinator) {
  FakeCoordinator coordinator;
  coordinator.draining = true;
  MembershipAgent agent(Options(coordinator.address()));
  EXPECT_TRUE(coordinator.Heartbeats(2)[1].draining());
  coordinator.draining = false;
  coordinator.Answer({}, {kAborted});
  coordinator.Registrations(2);
  const size_t told = coordinator.Heartbeats(1).size();
  EXPECT_TRUE(coordinator.Heartbeats(told + 2).back().draining());
}

TEST(Membership, FailedHeartbeatsAreNoLoss) {
  FakeCoordinator coordinator;
  coordinator.Answer({}, {kUnavailable, kUnavailable, kUnavailable, kUnavailable, kUnavailable});
  MembershipOptions options = Options(coordinator.address());
  options.on_new_incarnation = [&](uint64_t) { ADD_FAILURE(); };
  MembershipAgent agent(std::move(options));
  coordinator.Heartbeats(7);
  EXPECT_EQ(coordinator.Registrations(1).size(), 1u);
}

TEST(Membership, RefusalIsToldAndTriedAgain) {
  FakeCoordinator coordinator;
  coordinator.Answer({kRefused, kRefused}, {});
  MembershipAgent agent(Options(coordinator.address()));
  EXPECT_TRUE(absl::IsFailedPrecondition(agent.WaitRegistered(kLong).status()));
  coordinator.Registrations(3);
  coordinator.Heartbeats(1);
  EXPECT_TRUE(agent.WaitRegistered(kLong).ok());
}

TEST(Membership, AbsentCoordinatorIsWaitedFor) {
  std::string address;
  {
    const FakeCoordinator gone;
    address = gone.address();
  }
  MembershipAgent agent(Options(address));
  EXPECT_TRUE(absl::IsDeadlineExceeded(agent.WaitRegistered(milliseconds(20)).status()));
  EXPECT_EQ(agent.Latest(), nullptr);
  FakeCoordinator coordinator(address);
  coordinator.Publish(3);
  EXPECT_TRUE(agent.WaitRegistered(kLong).ok());
  EXPECT_TRUE(agent.WaitFor([](const PlacementView&) { return true; }, kLong).ok());
}

TEST(Membership, StoppedProcessIsAStranger) {
  FakeCoordinator coordinator;
  ManualClock clock;
  MembershipOptions options = Options(coordinator.address());
  options.clock = &clock;
  MembershipAgent agent(std::move(options));
  coordinator.Heartbeats(2);
  clock.Advance(seconds(30));
  const auto registrations = coordinator.Registrations(2);
  EXPECT_NE(registrations[1].member().incarnation(), registrations[0].member().incarnation());
}

TEST(Membership, PlacementsOnlyGoForward) {
  FakeCoordinator coordinator;
  std::mutex mutex;
  std::vector<uint64_t> seen;
  MembershipOptions options = Options(coordinator.address());
  options.on_placement = [&](std::shared_ptr<const PlacementView> view) {
    std::lock_guard lock(mutex);
    seen.push_back(view->epoch());
  };
  MembershipAgent agent(std::move(options));
  coordinator.Publish(5);
  coordinator.Publish(4);
  coordinator.Publish(6, /*broken=*/true);
  coordinator.Publish(7);
  const auto latest =
      agent.WaitFor([](const PlacementView& view) { return view.epoch() == 7; }, kLong);
  ASSERT_TRUE(latest.ok()) << latest.status();
  EXPECT_EQ(agent.Latest(), *latest);
  agent.HeartbeatNow();
  const size_t count = coordinator.Heartbeats(1).size();
  const auto heartbeats = coordinator.Heartbeats(count + 2);
  EXPECT_EQ(heartbeats.back().epoch(), 7u);
  EXPECT_EQ(heartbeats.back().oldest_epoch_in_use(), 7u);
  std::lock_guard lock(mutex);
  EXPECT_THAT(seen, ElementsAre(5, 7));
}

TEST(Membership, LastPlacementStandsWhileTheCoordinatorIsAway) {
  auto coordinator = std::make_unique<FakeCoordinator>();
  const std::string address = coordinator->address();
  MembershipAgent agent(Options(address));
  coordinator->Publish(5);
  ASSERT_TRUE(agent.WaitFor([](const PlacementView&) { return true; }, kLong).ok());
  coordinator.reset();
  EXPECT_EQ(agent.Latest()->epoch(), 5u);
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      agent.WaitFor([](const PlacementView& view) { return view.epoch() > 5; }, milliseconds(20))
          .status()));
  coordinator = std::make_unique<FakeCoordinator>(address);
  coordinator->Publish(6);
  EXPECT_TRUE(
      agent.WaitFor([](const PlacementView& view) { return view.epoch() == 6; }, kLong).ok());
}

}  // namespace
}  // namespace switchyard::runtime
