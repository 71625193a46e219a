#pragma once

// What the coordinator knows and decides, without gRPC, threads or a clock of its own.
//
// Messages (Register, Heartbeat, Drain, OrderDone) change what it knows; Tick decides: it ends
// leases, plans, publishes an epoch where the placement changed, and hands out orders for expert
// hosts. A change of owners is: load on the new owner, publish, unload on the old one once no
// router worker uses an earlier epoch.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/pool.h"
#include "proto/coordinator.pb.h"
#include "services/base/clock.h"

namespace switchyard::coordinator {

// As in CoordinatorOptions.
struct StateOptions {
  uint64_t incarnation = 1;  // of the coordinator; never 0
  std::string software_version;
  v1::Numerics numerics = v1::NUMERICS_UNSPECIFIED;
  uint32_t replicas = 1;
  Duration lease = std::chrono::seconds(2);
  uint32_t min_expert_hosts = 1;
  Duration start_wait = std::chrono::seconds(5);
  Duration repair_delay = std::chrono::seconds(5);
};

// To be sent to an expert host; its outcome goes to OrderDone.
struct Order {
  enum class Kind { kLoad, kUnload };
  uint64_t id = 0;
  Kind kind = Kind::kLoad;
  v1::Member host;
  LayerList experts;
  Duration timeout{};
};

// One caller at a time.
class CoordinatorState {
 public:
  // `clock` must outlive the state.
  CoordinatorState(StateOptions options, const Clock* clock);

  // Errors as in coordinator.proto.
  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest& request);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  absl::Status Drain(const std::string& name);
  v1::ClusterStatus Status() const;

  // An epoch that someone has seen: later ones will be above it.
  absl::Status ObserveEpoch(uint64_t epoch);

  // To be called several times per lease, and may be after each message.
  std::vector<Order> Tick();

  // What the host holds now, or why the order failed. Orders of hosts that are gone are ignored.
  void OrderDone(uint64_t id, const absl::StatusOr<LayerList>& loaded);

  // nullptr before the first epoch; replaced with every epoch.
  std::shared_ptr<const v1::Placement> placement() const { return placement_; }

 private:
  using Set = std::vector<bool>;  // of items

  struct MemberState {
    v1::Member member;
    TimePoint seen{};
    bool draining = false;
    uint64_t oldest_epoch_in_use = 0;  // router workers

    // Expert hosts:
    uint32_t capacity = 0;  // experts
    uint64_t bytes_per_expert = 0;
    double rows_per_second = 0;
    Set loaded;
    Set target;                        // where the plan wants it to end
    Set published;                     // in the current epoch
    std::map<Item, uint64_t> retired;  // loaded, not published -> the first epoch without it

    std::optional<Order> order;  // in flight
    TimePoint order_finished{};
    TimePoint next_order{};  // not before, after a failure
    Duration order_backoff{};
  };
  // By name, so that every decision is the same whatever the order of arrival.
  using Members = std::map<std::string, MemberState>;

  bool IsHost(const MemberState& state) const {
    return state.member.role() == v1::ROLE_EXPERT_HOST;
  }
  MemberState* FindById(uint64_t id);

  absl::Status CheckRegistration(const v1::RegisterRequest& request) const;
  void Join(const v1::RegisterRequest& request, Set loaded);
  void Leave(Members::iterator member, const std::string& why);
  void SetLoaded(MemberState& host, Set loaded);
  void TakeLoadReport(const v1::HeartbeatRequest& request);
  void FadeLoad(TimePoint now);

  void RequestPlan(TimePoint when);
  void ForgivePause(TimePoint now);
  void ExpireLeases(TimePoint now);
  bool ReadyToServe(TimePoint now) const;
  bool EnoughHosts(TimePoint now) const;
  void BeginServing();
  void Plan();
  void ChooseOwners();
  void Publish();
  v1::Placement Compose() const;
  void LogEpoch() const;
  Set UnownedItems() const;
  bool RoutersPast(uint64_t epoch) const;
  std::optional<Order> NextOrder(MemberState& host, TimePoint now);
  bool Carried(const Order& order, const Set& loaded) const;
  std::vector<Item> ItemsToLoad(const MemberState& host) const;
  std::vector<Item> ItemsToUnload(const MemberState& host) const;

  const StateOptions options_;
  const Clock& clock_;
  Pool pool_;
  Members members_;
  std::map<std::string, uint64_t> gone_;  // name -> incarnation whose lease ended last
  std::vector<double> load_;              // rows per item, fading

  bool serving_ = false;                 // false: collecting what members report
  bool rejoining_ = false;               // someone has been in a cluster before
  std::optional<TimePoint> first_seen_;  // of any member
  std::optional<TimePoint> first_host_;
  std::optional<TimePoint> plan_at_;
  bool rebalance_ = false;  // by the next plan: an empty host has come
  TimePoint last_tick_{};
  TimePoint load_faded_{};
  uint64_t next_order_id_ = 1;

  bool changed_ = false;       // the placement may have to be published anew
  bool epoch_jumped_ = false;  // it has to
  uint64_t epoch_ = 0;
  std::shared_ptr<const v1::Placement> placement_;
};

}  // namespace switchyard::coordinator
