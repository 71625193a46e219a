#pragma once

// Fake members around one real CoordinatorState, in simulated time.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/coordinator_state.h"
#include "services/base/clock.h"
#include "services/runtime/identity.h"
#include "services/runtime/placement_view.h"

namespace switchyard::coordinator {

inline constexpr uint32_t kLayers[] = {1, 3};  // dense layers stand between MoE layers
inline constexpr uint32_t kExperts = 4;
inline constexpr uint64_t kDigest = 77;

using ExpertOfLayer = std::pair<uint32_t, uint32_t>;

inline std::set<ExpertOfLayer> ToPairs(const LayerList& list) {
  std::set<ExpertOfLayer> pairs;
  for (const v1::LayerExperts& layer : list) {
    for (const uint32_t expert : layer.experts()) pairs.emplace(layer.layer(), expert);
  }
  return pairs;
}

inline LayerList ToList(const std::set<ExpertOfLayer>& pairs) {
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
class FakeCluster {
 public:
  explicit FakeCluster(StateOptions options = {}) : options_(options) { StartCoordinator(); }

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
    for (Duration past{}; past < duration; past += std::chrono::milliseconds(100)) {
      clock_.Advance(std::chrono::milliseconds(100));
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
  const runtime::PlacementView& view() const { return *view_; }
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
    auto view = runtime::PlacementView::Parse(*placement);
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
  std::shared_ptr<const runtime::PlacementView> view_;
  std::map<uint64_t, std::shared_ptr<const runtime::PlacementView>> history_;
};

}  // namespace switchyard::coordinator
