#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/coordinator_state.h"
#include "services/base/log.h"
#include "services/placement/placement.h"

// How owners of experts change: plan, load, publish, unload.

namespace switchyard::coordinator {
namespace {

// Members notice a new coordinator at their next heartbeat (a third of the lease) and may have to
// reconnect first (a second at most), so a restart collects for longer than one lease.
constexpr double kGraceLeases = 1.5;

// Experts are ordered in portions, so that a long move shows effect while it goes on.
constexpr uint64_t kBytesPerOrder = uint64_t{1} << 30;

// An order fails when it takes longer than this.
constexpr Duration kOrderTimeout = std::chrono::seconds(30);
constexpr uint64_t kSlowestLoadBytesPerSecond = 20'000'000;

constexpr Duration kFirstBackoff = std::chrono::milliseconds(200);
constexpr Duration kLongestBackoff = std::chrono::seconds(5);

uint32_t Count(const std::vector<bool>& set) {
  return static_cast<uint32_t>(std::count(set.begin(), set.end(), true));
}

bool Any(const std::vector<bool>& set) {
  return std::find(set.begin(), set.end(), true) != set.end();
}

}  // namespace

void CoordinatorState::RequestPlan(TimePoint when) {
  plan_at_ = plan_at_ ? std::min(*plan_at_, when) : when;
}

bool CoordinatorState::EnoughHosts(TimePoint now) const {
  if (pool_.shape().items() == 0) return true;
  const auto hosts = std::count_if(members_.begin(), members_.end(),
                                   [&](const auto& entry) { return IsHost(entry.second); });
  return hosts > 0 &&
         (hosts >= options_.min_expert_hosts || now - *first_host_ >= options_.start_wait);
}

bool CoordinatorState::ReadyToServe(TimePoint now) const {
  if (!first_seen_) return false;
  if (!rejoining_) return EnoughHosts(now);
  if (now - *first_seen_ < options_.lease * kGraceLeases) return false;
  const bool anything_loaded = std::any_of(
      members_.begin(), members_.end(), [](const auto& entry) { return Any(entry.second.loaded); });
  return anything_loaded || EnoughHosts(now);
}

void CoordinatorState::BeginServing() {
  serving_ = true;
  changed_ = true;
  for (auto& [name, state] : members_) state.published = state.loaded;
  RequestPlan(clock_.Now());
}

void CoordinatorState::Plan() {
  plan_at_.reset();
  changed_ = true;
  FadeLoad(clock_.Now());
  placement::PlacementInput input;
  input.layers = static_cast<uint32_t>(pool_.shape().layers().size());
  input.experts_per_layer = pool_.shape().experts_per_layer();
  input.replicas = options_.replicas;
  input.load = load_;
  input.rebalance = std::exchange(rebalance_, false);
  std::vector<MemberState*> hosts;
  for (auto& [name, state] : members_) {
    if (!IsHost(state)) continue;
    state.target.assign(pool_.shape().items(), false);
    if (state.draining) continue;
    // What an order in flight will have done counts as done.
    Set loaded = state.loaded;
    if (state.order) {
      const absl::StatusOr<Set> ordered = pool_.shape().ToSet(state.order->experts);
      for (Item item = 0; ordered.ok() && item < loaded.size(); ++item) {
        if ((*ordered)[item]) loaded[item] = state.order->kind == Order::Kind::kLoad;
      }
    }
    placement::Host& host = input.hosts.emplace_back();
    host.capacity = state.capacity;
    host.speed = state.rows_per_second;
    for (Item item = 0; item < loaded.size(); ++item) {
      if (loaded[item]) host.loaded.push_back(item);
    }
    hosts.push_back(&state);
  }
  const placement::PlacementResult result = placement::Place(input);
  for (Item item = 0; item < result.owners.size(); ++item) {
    for (const uint32_t host : result.owners[item]) hosts[host]->target[item] = true;
  }
  if (hosts.empty()) {
    LogWarning() << "no expert host is there that does not drain: nobody takes experts";
  } else if (!result.missing.empty()) {
    LogError() << "the expert hosts' memory is too small: no place for " << result.missing.size()
               << " of " << pool_.shape().items() << " experts, the first is "
               << pool_.shape().Describe(result.missing.front());
  }
}

// Planned owners that have the expert loaded own it; until all of them do, and when none is
// planned, the present owners stay.
void CoordinatorState::ChooseOwners() {
  for (Item item = 0; item < pool_.shape().items(); ++item) {
    uint32_t planned = 0;
    uint32_t ready = 0;
    for (const auto& [name, state] : members_) {
      if (!IsHost(state) || !state.target[item]) continue;
      ++planned;
      ready += state.loaded[item];
    }
    const bool keep_present = ready < planned || planned == 0;
    for (auto& [name, state] : members_) {
      if (!IsHost(state)) continue;
      state.published[item] =
          state.loaded[item] && (state.target[item] || (keep_present && state.published[item]));
    }
  }
}

v1::Placement CoordinatorState::Compose() const {
  v1::Placement placement;
  *placement.mutable_model() = pool_.model();
  std::vector<const MemberState*> hosts;
  for (const auto& [name, state] : members_) {
    if (!IsHost(state)) {
      if (!state.draining) *placement.add_router_workers() = state.member;
    } else if (!state.draining || Any(state.published)) {
      // Also a host without experts yet: router workers connect to it ahead of its first ones.
      *placement.add_hosts() = state.member;
      hosts.push_back(&state);
    }
  }
  for (const uint32_t layer_id : pool_.shape().layers()) {
    v1::LayerPlacement* layer = placement.add_layers();
    layer->set_layer(layer_id);
    layer->add_offsets(0);
    const Item first = *pool_.shape().FirstItem(layer_id);
    for (Item item = first; item < first + pool_.shape().experts_per_layer(); ++item) {
      for (uint32_t host = 0; host < hosts.size(); ++host) {
        if (hosts[host]->published[item]) layer->add_hosts(host);
      }
      layer->add_offsets(static_cast<uint32_t>(layer->hosts_size()));
    }
  }
  return placement;
}

void CoordinatorState::Publish() {
  changed_ = false;
  ChooseOwners();
  auto next = std::make_shared<v1::Placement>(Compose());
  next->set_epoch(epoch_);
  const bool same = placement_ != nullptr && !epoch_jumped_ &&
                    next->SerializeAsString() == placement_->SerializeAsString();
  if (!same) {
    next->set_epoch(++epoch_);
    epoch_jumped_ = false;
    placement_ = std::move(next);
    LogEpoch();
  }
  for (auto& [name, state] : members_) {
    for (Item item = 0; item < state.loaded.size(); ++item) {
      if (state.loaded[item] && !state.published[item]) {
        state.retired.try_emplace(item, epoch_);
      } else {
        state.retired.erase(item);
      }
    }
  }
}

void CoordinatorState::LogEpoch() const {
  const uint32_t unowned = Count(UnownedItems());
  LogLine(unowned == 0 ? LogLevel::kInfo : LogLevel::kWarning)
      << "epoch " << epoch_ << ": " << placement_->hosts_size() << " expert hosts, "
      << placement_->router_workers_size() << " router workers, " << pool_.shape().items() - unowned
      << " of " << pool_.shape().items() << " experts have an owner";
}

CoordinatorState::Set CoordinatorState::UnownedItems() const {
  Set unowned(pool_.shape().items(), true);
  for (const auto& [name, state] : members_) {
    for (Item item = 0; item < state.published.size(); ++item) {
      if (state.published[item]) unowned[item] = false;
    }
  }
  return unowned;
}

bool CoordinatorState::RoutersPast(uint64_t epoch) const {
  return std::all_of(members_.begin(), members_.end(), [&](const auto& entry) {
    return IsHost(entry.second) || entry.second.oldest_epoch_in_use >= epoch;
  });
}

// Those without an owner first; no more than there is room for, and than one order should move.
std::vector<Item> CoordinatorState::ItemsToLoad(const MemberState& host) const {
  const uint32_t held = Count(host.loaded);
  const uint64_t room = host.capacity > held ? host.capacity - held : 0;
  const uint64_t portion = std::max<uint64_t>(1, kBytesPerOrder / host.bytes_per_expert);
  std::vector<Item> items;
  for (Item item = 0; item < host.target.size(); ++item) {
    if (host.target[item] && !host.loaded[item]) items.push_back(item);
  }
  if (items.empty()) return items;
  const Set unowned = UnownedItems();
  std::stable_partition(items.begin(), items.end(), [&](Item item) { return unowned[item]; });
  items.resize(std::min<uint64_t>({items.size(), room, portion}));
  std::sort(items.begin(), items.end());
  return items;
}

std::vector<Item> CoordinatorState::ItemsToUnload(const MemberState& host) const {
  std::vector<Item> items;
  for (const auto& [item, epoch] : host.retired) {
    if (!host.target[item] && RoutersPast(epoch)) items.push_back(item);
  }
  return items;
}

std::optional<Order> CoordinatorState::NextOrder(MemberState& host, TimePoint now) {
  if (host.order || now < host.next_order) return std::nullopt;
  Order order{.host = host.member, .timeout = kOrderTimeout};
  std::vector<Item> items = ItemsToLoad(host);
  if (!items.empty()) {
    const uint64_t bytes = items.size() * host.bytes_per_expert;
    order.timeout += std::chrono::seconds(bytes / kSlowestLoadBytesPerSecond);
  } else {
    order.kind = Order::Kind::kUnload;
    items = ItemsToUnload(host);
  }
  if (items.empty()) return std::nullopt;
  order.id = next_order_id_++;
  order.experts = pool_.shape().ToProto(items);
  host.order = order;
  return order;
}

void CoordinatorState::OrderDone(uint64_t id, const absl::StatusOr<LayerList>& loaded) {
  const auto at = std::find_if(members_.begin(), members_.end(), [&](const auto& entry) {
    return entry.second.order && entry.second.order->id == id;
  });
  if (at == members_.end()) return;
  MemberState& host = at->second;
  const TimePoint now = clock_.Now();
  const Order order = *std::exchange(host.order, std::nullopt);
  host.order_finished = now;

  absl::Status status = loaded.status();
  if (status.ok()) {
    absl::StatusOr<Set> set = pool_.shape().ToSet(*loaded);
    status = set.status();
    if (set.ok()) SetLoaded(host, *std::move(set));
  }
  if (status.ok() && !Carried(order, host.loaded)) {
    status = absl::InternalError("it reports success, but its experts are not as ordered");
  }
  if (status.ok()) {
    host.order_backoff = Duration::zero();
    return;
  }
  host.order_backoff = std::clamp(host.order_backoff * 2, kFirstBackoff, kLongestBackoff);
  host.next_order = now + host.order_backoff;
  LogWarning() << host.member.name() << " did not "
               << (order.kind == Order::Kind::kLoad ? "load" : "unload")
               << " its experts: " << status.message();
  if (absl::IsResourceExhausted(status)) {  // it has less room than it said
    host.capacity = Count(host.loaded);
    RequestPlan(now);
  }
}

bool CoordinatorState::Carried(const Order& order, const Set& loaded) const {
  const absl::StatusOr<Set> ordered = pool_.shape().ToSet(order.experts);
  for (Item item = 0; item < loaded.size(); ++item) {
    if ((*ordered)[item] && loaded[item] != (order.kind == Order::Kind::kLoad)) return false;
  }
  return true;
}

void CoordinatorState::SetLoaded(MemberState& host, Set loaded) {
  if (loaded == host.loaded) return;
  host.loaded = std::move(loaded);
  changed_ = true;
}

}  // namespace switchyard::coordinator
