#include "coordinator/coordinator_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>

#include "services/runtime/identity.h"
#include "services/runtime/placement_view.h"

namespace switchyard::coordinator {
namespace {

using runtime::PlacementView;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr uint32_t kLayers[] = {1, 3};  // dense layers stand between MoE layers
constexpr uint32_t kExperts = 4;
constexpr uint64_t kDigest = 77;

using ExpertOfLayer = std::pair<uint32_t, uint32_t>;

std::set<ExpertOfLayer> ToPairs(const LayerList& list) {
  std::set<ExpertOfLayer> pairs;
  for (const v1::LayerExperts& layer : list) {
    for (const uint32_t expert : layer.experts()) pairs.emplace(layer.layer(), expert);
  }
  return pairs;
}

LayerList ToList(const std::set<ExpertOfLayer>& pairs) {
  LayerList list;
  for (const auto& [layer, expert] : pairs) {
    if (list.empty() || list.rbegin()->layer() != layer) list.Add()->set_layer(layer);
    list.rbegin()->add_experts(expert);
  }
  return list;
}

// A process as the coordinator sees it.
struct FakeMember {
  v1::RegisterRequest registration;
  bool running = true;
  bool draining = false;
  double rows_per_second = 0;
  std::set<ExpertOfLayer> loaded;
  uint64_t coordinator = 0;
  uint64_t epoch = 0;
  std::optional<uint64_t> holds_epoch;  // a batch that does not end
  uint64_t reported_epoch = 0;          // oldest in use, as the coordinator was told
};

// A cluster of fake members over one coordinator, in simulated time. After every step it checks
// what must always hold: epochs grow, owners that live have what they own, nothing is unloaded that
// a router worker may still use.
class Cluster {
 public:
  explicit Cluster(StateOptions options = {}) : options_(options) { StartCoordinator(); }

  void StartCoordinator() {
    options_.incarnation = runtime::NewIncarnation();
    state_ = std::make_unique<CoordinatorState>(options_, &clock_);
    orders_.clear();
  }
  void StopCoordinator() { state_.reset(); }

  FakeMember& AddHost(const std::string& name, uint32_t capacity = 100) {
    FakeMember& host = Add(name, v1::ROLE_EXPERT_HOST);
    host.registration.set_bytes_per_expert(1000);
    host.registration.set_memory_bytes(1000 * capacity);
    return host;
  }
  FakeMember& AddRouter(const std::string& name) { return Add(name, v1::ROLE_ROUTER_WORKER); }

  FakeMember& operator[](const std::string& name) { return members_.at(name); }
  CoordinatorState& state() { return *state_; }

  void Kill(const std::string& name) { members_.erase(name); }

  absl::Status Register(FakeMember& member) {
    *member.registration.mutable_loaded() = ToList(member.loaded);
    member.registration.set_last_epoch(member.epoch);
    const auto response = state_->Register(member.registration);
    if (response.ok()) member.coordinator = response->coordinator();
    return response.status();
  }

  // What a MembershipAgent does.
  void Beat(FakeMember& member) {
    if (member.coordinator == 0) {
      EXPECT_TRUE(Register(member).ok());
    }
    v1::HeartbeatRequest request;
    request.set_id(member.registration.member().id());
    request.set_incarnation(member.registration.member().incarnation());
    request.set_coordinator(member.coordinator);
    request.set_epoch(member.epoch);
    member.reported_epoch = member.holds_epoch.value_or(member.epoch);
    request.set_oldest_epoch_in_use(member.reported_epoch);
    request.set_draining(member.draining);
    request.set_rows_per_second(member.rows_per_second);
    *request.mutable_loaded() = ToList(member.loaded);
    const auto response = state_->Heartbeat(request);
    if (response.ok()) member.draining |= response->draining();
    const absl::Status status = response.status();
    if (absl::IsNotFound(status)) {
      member.registration.mutable_member()->set_incarnation(runtime::NewIncarnation());
    }
    if (!status.ok()) {
      EXPECT_TRUE(Register(member).ok());
    }
  }

  void Run(Duration duration) {
    for (Duration past{}; past < duration; past += milliseconds(100)) {
      clock_.Advance(milliseconds(100));
      Step();
    }
  }

  // Time passes without a step, as when the coordinator's process is stopped.
  void JumpBy(Duration duration) {
    clock_.Advance(duration);
    Step();
  }

  void Step() {
    if (state_ == nullptr) return;
    for (auto& [name, member] : members_) {
      if (member.running) Beat(member);
    }
    const std::vector<Order> orders = state_->Tick();
    CheckPlacement();
    for (const Order& order : orders) {
      CheckOrder(order);
      orders_.push_back(order);
    }
    if (carry_out_orders) CarryOutOrders();
  }

  void CarryOutOrders() {
    for (const Order& order : std::exchange(orders_, {})) {
      const auto at = members_.find(order.host.name());
      if (at == members_.end() || !at->second.running ||
          at->second.registration.member().incarnation() != order.host.incarnation()) {
        state_->OrderDone(order.id, absl::UnavailableError("no such host"));
        continue;
      }
      FakeMember& host = at->second;
      for (const ExpertOfLayer& expert : ToPairs(order.experts)) {
        ++(order.kind == Order::Kind::kLoad ? loads : unloads);
        if (order.kind == Order::Kind::kLoad) {
          host.loaded.insert(expert);
        } else {
          host.loaded.erase(expert);
        }
      }
      const uint64_t bytes = host.registration.expert_sizes().empty() ? 1000 : 500;
      EXPECT_LE(host.loaded.size() * bytes, host.registration.memory_bytes()) << order.host.name();
      state_->OrderDone(order.id, ToList(host.loaded));
    }
  }

  Order TakeOrder() {
    const Order order = orders_.front();
    orders_.erase(orders_.begin());
    return order;
  }

  uint64_t epoch() const { return view_ == nullptr ? 0 : view_->epoch(); }
  const PlacementView& view() const { return *view_; }
  const std::vector<Order>& orders() const { return orders_; }

  std::vector<std::string> Owners(uint32_t layer, uint32_t expert) const {
    std::vector<std::string> names;
    for (const uint32_t host : view_->Owners(layer, expert)) {
      names.push_back(view_->hosts()[static_cast<int>(host)].name());
    }
    return names;
  }
  size_t Owned(const std::string& name) const {
    size_t owned = 0;
    for (const uint32_t layer : kLayers) {
      for (uint32_t e = 0; e < kExperts; ++e) {
        const auto owners = Owners(layer, e);
        owned += std::count(owners.begin(), owners.end(), name);
      }
    }
    return owned;
  }

  bool carry_out_orders = true;
  size_t loads = 0;  // experts
  size_t unloads = 0;

 private:
  FakeMember& Add(const std::string& name, v1::Role role) {
    FakeMember& member = members_[name];
    member = {};
    v1::RegisterRequest& request = member.registration;
    request.mutable_member()->set_name(name);
    request.mutable_member()->set_id(runtime::MemberId(name));
    request.mutable_member()->set_incarnation(runtime::NewIncarnation());
    request.mutable_member()->set_role(role);
    request.mutable_member()->set_control_address("127.0.0.1:1");
    request.set_model_digest(kDigest);
    request.add_offered(v1::NUMERICS_BF16);
    request.add_offered(v1::NUMERICS_FP32);
    for (const uint32_t layer : kLayers) request.add_moe_layers(layer);
    request.set_experts_per_layer(kExperts);
    return member;
  }

  void CheckPlacement() {
    const auto placement = state_->placement();
    if (placement == nullptr || placement->epoch() == epoch()) return;
    ASSERT_GT(placement->epoch(), epoch());
    auto view = PlacementView::Parse(*placement);
    ASSERT_TRUE(view.ok()) << view.status();
    view_ = *std::move(view);
    history_[epoch()] = view_;
    for (const uint32_t layer : kLayers) {
      for (uint32_t e = 0; e < kExperts; ++e) {
        for (const uint32_t owner : view_->Owners(layer, e)) {
          const auto host = members_.find(view_->hosts()[static_cast<int>(owner)].name());
          if (host == members_.end()) continue;  // dead, and its lease not over yet
          EXPECT_TRUE(host->second.loaded.contains({layer, e})) << "epoch " << epoch();
        }
      }
    }
    for (auto& [name, member] : members_) {
      if (member.running) member.epoch = epoch();
    }
  }

  void CheckOrder(const Order& order) {
    if (order.kind != Order::Kind::kUnload) return;
    uint64_t oldest = epoch();
    for (const auto& [name, member] : members_) {
      if (member.registration.member().role() == v1::ROLE_ROUTER_WORKER) {
        oldest = std::min(oldest, member.reported_epoch);
      }
    }
    for (auto used = history_.lower_bound(oldest); used != history_.end(); ++used) {
      const auto host = used->second->HostIndex(order.host.id());
      if (!host ||
          used->second->hosts()[static_cast<int>(*host)].incarnation() != order.host.incarnation())
        continue;
      for (const auto& [layer, expert] : ToPairs(order.experts)) {
        const auto owners = used->second->Owners(layer, expert);
        EXPECT_EQ(std::count(owners.begin(), owners.end(), *host), 0)
            << "unloads what epoch " << used->first << " uses";
      }
    }
  }

  StateOptions options_;
  ManualClock clock_;
  std::unique_ptr<CoordinatorState> state_;
  std::map<std::string, FakeMember> members_;
  std::vector<Order> orders_;
  std::shared_ptr<const PlacementView> view_;
  std::map<uint64_t, std::shared_ptr<const PlacementView>> history_;
};

TEST(CoordinatorState, FirstPlacementWaitsForTheExpectedHosts) {
  Cluster cluster({.min_expert_hosts = 2});
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

TEST(CoordinatorState, FirstPlacementDoesNotWaitForEver) {
  Cluster cluster({.min_expert_hosts = 3, .start_wait = seconds(4)});
  cluster.AddHost("a");
  cluster.Run(seconds(3));
  EXPECT_EQ(cluster.epoch(), 0u);
  cluster.Run(seconds(2));
  EXPECT_TRUE(cluster.view().complete());
}

TEST(CoordinatorState, DenseModelNeedsNoHosts) {
  Cluster cluster;
  FakeMember& router = cluster.AddRouter("r");
  router.registration.clear_moe_layers();
  router.registration.set_experts_per_layer(0);
  cluster.Run(seconds(1));
  ASSERT_GT(cluster.epoch(), 0u);
  EXPECT_EQ(cluster.view().router_workers().size(), 1);
}

TEST(CoordinatorState, LostHostLeavesTheNextEpochAtOnceAndReplicasGoOn) {
  Cluster cluster({.replicas = 2, .min_expert_hosts = 2});
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

TEST(CoordinatorState, ExpertsWithoutOwnerAreLoadedElsewhereAtOnce) {
  Cluster cluster({.min_expert_hosts = 2});
  cluster.AddHost("a");
  cluster.AddHost("b");
  cluster.Run(seconds(1));
  cluster.Kill("a");
  cluster.Run(milliseconds(2500));
  EXPECT_TRUE(cluster.view().complete());
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorState, ReplicasWaitForAHostThatComesBackSoon) {
  Cluster cluster({.replicas = 2, .min_expert_hosts = 3});
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

TEST(CoordinatorState, ReplicasAreLoadedElsewhereWhenAHostStaysAway) {
  Cluster cluster({.replicas = 2, .min_expert_hosts = 3});
  for (const char* name : {"a", "b", "c"}) cluster.AddHost(name);
  cluster.Run(seconds(1));
  cluster.Kill("c");
  cluster.Run(seconds(9));
  EXPECT_EQ(cluster.Owned("a"), 8u);
  EXPECT_EQ(cluster.Owned("b"), 8u);
}

TEST(CoordinatorState, RestartedHostTakesItsNameAtOnce) {
  Cluster cluster({.replicas = 2, .min_expert_hosts = 2});
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

TEST(CoordinatorState, NewHostIsKnownFirstAndOwnsOnlyWhatItHasLoaded) {
  Cluster cluster;
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

TEST(CoordinatorState, OldCopyStaysWhileARouterWorkerUsesIt) {
  Cluster cluster;
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

TEST(CoordinatorState, FailedOrdersAreTriedAgain) {
  Cluster cluster;
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

TEST(CoordinatorState, HostWithLessRoomThanItSaidIsNotAskedForMore) {
  Cluster cluster({.min_expert_hosts = 2});
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

TEST(CoordinatorState, DrainedHostHandsOverBeforeItLeaves) {
  Cluster cluster({.min_expert_hosts = 2});
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

TEST(CoordinatorState, HostDrainsOnlyWhenItsExpertsHaveAPlace) {
  Cluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().Drain("a").ok());
  cluster.Run(seconds(1));
  EXPECT_EQ(cluster.Owned("a"), 8u);
  EXPECT_TRUE(absl::IsNotFound(cluster.state().Drain("z")));
}

TEST(CoordinatorState, ADrainOutlivesTheCoordinator) {
  Cluster cluster;
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

TEST(CoordinatorState, RoomIsCountedInTheClassThatThePoolRuns) {
  for (const auto& [numerics, experts] :
       {std::pair{v1::NUMERICS_FP32, 2u}, std::pair{v1::NUMERICS_BF16, 4u}}) {
    Cluster cluster({.numerics = numerics});
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

TEST(CoordinatorState, DrainingRouterWorkerGetsNoNewRequests) {
  Cluster cluster;
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
  Cluster cluster({.replicas = 2, .min_expert_hosts = 3});
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
  Cluster cluster({.min_expert_hosts = 2});
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
  Cluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  ASSERT_TRUE(cluster.state().ObserveEpoch(500).ok());
  cluster.Step();
  EXPECT_EQ(cluster.epoch(), 501u);
  EXPECT_TRUE(absl::IsInvalidArgument(cluster.state().ObserveEpoch(UINT64_MAX)));
}

TEST(CoordinatorState, PausedMemberIsAStranger) {
  Cluster cluster({.replicas = 2, .min_expert_hosts = 2});
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
  Cluster cluster;
  cluster.AddHost("a");
  cluster.Run(seconds(1));
  const uint64_t epoch = cluster.epoch();
  cluster["a"].running = false;
  cluster.JumpBy(seconds(20));
  EXPECT_EQ(cluster.epoch(), epoch);
  EXPECT_EQ(cluster.view().hosts().size(), 1);
}

TEST(CoordinatorState, RefusesWhatDoesNotFitAndSaysWhatWould) {
  Cluster cluster({.numerics = v1::NUMERICS_FP32});
  ASSERT_TRUE(cluster.Register(cluster.AddHost("a")).ok());

  FakeMember& other_class = cluster.AddHost("b");
  other_class.registration.clear_offered();
  other_class.registration.add_offered(v1::NUMERICS_BF16);
  absl::Status status = cluster.Register(other_class);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.ToString(), HasSubstr("b offers bf16"));
  EXPECT_THAT(status.ToString(), HasSubstr("only members that offer fp32 are admitted"));

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
    Cluster cluster;
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
  Cluster cluster;
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

// Whatever comes and goes, and when: the checks of Cluster hold in every step, and in the end all
// is placed. Hosts are small enough that some moves must free room first.
TEST(CoordinatorState, ThousandJoinsAndLeaves) {
  std::mt19937 random(7);
  auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  Cluster cluster({.replicas = 2});
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
