#include "coordinator/coordinator_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/runtime/identity.h"

// Who is in the cluster. What follows from it for the experts stands in coordinator_plan.cc.

namespace switchyard::coordinator {
namespace {

// Half of what an expert was asked for counts no more after this long.
constexpr Duration kLoadHalfLife = std::chrono::minutes(1);

// Weight of a new measurement of a host's speed.
constexpr double kNewSpeedShare = 0.3;

// Epochs are counted up from what members report; nobody has seen as many as this.
constexpr uint64_t kMaxEpoch = uint64_t{1} << 62;

// Names whose last incarnation is remembered.
constexpr size_t kMaxGone = 4'096;

// Of an expert in the pool's class.
uint64_t BytesPerExpert(const v1::RegisterRequest& request, v1::Numerics numerics) {
  for (const v1::ExpertSize& size : request.expert_sizes()) {
    if (size.numerics() == numerics && size.bytes() > 0) return size.bytes();
  }
  return request.bytes_per_expert();
}

int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

CoordinatorState::CoordinatorState(StateOptions options, const Clock* clock)
    : options_(std::move(options)),
      clock_(*clock),
      pool_(options_.software_version, options_.numerics),
      last_tick_(clock_.Now()),
      load_faded_(clock_.Now()) {}

absl::Status CoordinatorState::CheckRegistration(const v1::RegisterRequest& request) const {
  const v1::Member& member = request.member();
  if (member.name().empty()) return absl::InvalidArgumentError("member.name is empty");
  auto invalid = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat(member.name(), ": ", what));
  };
  if (member.id() != runtime::MemberId(member.name())) {
    return invalid("member.id is not the name's XXH3");
  }
  if (member.incarnation() == 0) return invalid("member.incarnation is 0");
  if (member.control_address().empty()) return invalid("member.control_address is empty");
  if (member.role() == v1::ROLE_EXPERT_HOST) {
    if (request.bytes_per_expert() == 0) return invalid("bytes_per_expert is 0");
  } else if (member.role() != v1::ROLE_ROUTER_WORKER) {
    return invalid("member.role is neither expert host nor router worker");
  }
  const auto gone = gone_.find(member.name());
  if (gone != gone_.end() && gone->second == member.incarnation()) {
    return absl::NotFoundError(
        absl::StrCat("the lease of this incarnation of ", member.name(), " has ended"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RegisterResponse> CoordinatorState::Register(
    const v1::RegisterRequest& request) {
  RETURN_IF_ERROR(CheckRegistration(request));
  RETURN_IF_ERROR(pool_.Admit(request));
  ASSIGN_OR_RETURN(Set loaded, pool_.shape().ToSet(request.loaded()));
  RETURN_IF_ERROR(ObserveEpoch(request.last_epoch()));
  load_.resize(pool_.shape().items());
  Join(request, std::move(loaded));
  v1::RegisterResponse response;
  response.set_lease_ms(static_cast<uint32_t>(Milliseconds(options_.lease)));
  *response.mutable_model() = pool_.model();
  response.set_epoch(epoch_);
  response.set_coordinator(options_.incarnation);
  return response;
}

void CoordinatorState::Join(const v1::RegisterRequest& request, Set loaded) {
  const TimePoint now = clock_.Now();
  const v1::Member& member = request.member();
  const auto old = members_.find(member.name());
  if (old != members_.end() && old->second.member.incarnation() != member.incarnation()) {
    Leave(old, "a newer incarnation took its place");
  }
  const auto [at, is_new] = members_.try_emplace(member.name());
  MemberState& state = at->second;
  state.member = member;
  state.seen = now;
  if (!first_seen_) first_seen_ = now;
  if (IsHost(state)) {
    if (!first_host_) first_host_ = now;
    const bool empty = std::find(loaded.begin(), loaded.end(), true) == loaded.end();
    (empty ? rebalance_ : rejoining_) = true;
    state.bytes_per_expert = BytesPerExpert(request, pool_.model().numerics());
    state.capacity = static_cast<uint32_t>(
        std::min<uint64_t>(request.memory_bytes() / state.bytes_per_expert, pool_.shape().items()));
    if (is_new) {
      state.loaded = state.target = state.published = Set(pool_.shape().items());
    }
    SetLoaded(state, std::move(loaded));
    RequestPlan(now);
  } else if (is_new) {
    state.oldest_epoch_in_use = request.last_epoch() > 0 ? request.last_epoch() : epoch_;
  }
  if (request.last_epoch() > 0) rejoining_ = true;
  changed_ = true;
  if (is_new) LogInfo() << member.name() << " joined, at " << member.control_address();
}

void CoordinatorState::Leave(Members::iterator member, const std::string& why) {
  LogWarning() << member->first << " is out: " << why;
  const bool was_host = IsHost(member->second);
  if (gone_.size() >= kMaxGone) gone_.erase(gone_.begin());
  gone_[member->first] = member->second.member.incarnation();
  members_.erase(member);
  changed_ = true;
  if (!was_host) return;
  const Set unowned = UnownedItems();
  const bool wait = std::find(unowned.begin(), unowned.end(), true) == unowned.end();
  RequestPlan(clock_.Now() + (wait ? options_.repair_delay : Duration::zero()));
}

absl::StatusOr<v1::HeartbeatResponse> CoordinatorState::Heartbeat(
    const v1::HeartbeatRequest& request) {
  if (request.coordinator() != options_.incarnation) {
    return absl::AbortedError("this coordinator gave no such lease: register again");
  }
  MemberState* member = FindById(request.id());
  if (member == nullptr || member->member.incarnation() != request.incarnation()) {
    return absl::NotFoundError("the lease of this incarnation has ended");
  }
  const TimePoint now = clock_.Now();
  member->seen = now;
  if (request.draining() && !std::exchange(member->draining, true)) {
    changed_ = true;
    RequestPlan(now);
  }
  if (!IsHost(*member)) {
    if (request.oldest_epoch_in_use() > 0) {
      member->oldest_epoch_in_use = request.oldest_epoch_in_use();
    }
  } else {
    TakeLoadReport(request);
    double& speed = member->rows_per_second;
    if (std::isfinite(request.rows_per_second()) && request.rows_per_second() > 0) {
      speed += (request.rows_per_second() - speed) * (speed == 0 ? 1 : kNewSpeedShare);
    }
    // A report that overlaps an order may be older than the order's outcome.
    const bool settled = !member->order && now - member->order_finished > options_.lease;
    if (settled && !request.loaded().empty()) {
      ASSIGN_OR_RETURN(Set loaded, pool_.shape().ToSet(request.loaded()));
      SetLoaded(*member, std::move(loaded));
    }
  }
  v1::HeartbeatResponse response;
  response.set_epoch(epoch_);
  response.set_draining(member->draining);
  return response;
}

void CoordinatorState::TakeLoadReport(const v1::HeartbeatRequest& request) {
  FadeLoad(clock_.Now());
  for (const v1::ExpertLoad& layer : request.load()) {
    const std::optional<Item> first = pool_.shape().FirstItem(layer.layer());
    if (!first) continue;
    const uint32_t experts =
        std::min<uint32_t>(layer.rows_size(), pool_.shape().experts_per_layer());
    for (uint32_t e = 0; e < experts; ++e) {
      load_[*first + e] += static_cast<double>(layer.rows(static_cast<int>(e)));
    }
  }
}

void CoordinatorState::FadeLoad(TimePoint now) {
  const double halvings = std::chrono::duration<double>(now - load_faded_) /
                          std::chrono::duration<double>(kLoadHalfLife);
  if (halvings < 0.01) return;
  for (double& load : load_) load *= std::exp2(-halvings);
  load_faded_ = now;
}

absl::Status CoordinatorState::Drain(const std::string& name) {
  const auto member = members_.find(name);
  if (member == members_.end()) {
    return absl::NotFoundError(absl::StrCat("no member is called '", name, "'"));
  }
  member->second.draining = true;
  changed_ = true;
  RequestPlan(clock_.Now());
  return absl::OkStatus();
}

absl::Status CoordinatorState::ObserveEpoch(uint64_t epoch) {
  if (epoch > kMaxEpoch) {
    return absl::InvalidArgumentError(absl::StrCat("no cluster has seen ", epoch, " epochs"));
  }
  if (epoch <= epoch_) return absl::OkStatus();
  epoch_ = epoch;
  if (serving_) changed_ = epoch_jumped_ = true;
  return absl::OkStatus();
}

v1::ClusterStatus CoordinatorState::Status() const {
  const TimePoint now = clock_.Now();
  v1::ClusterStatus status;
  if (placement_ != nullptr) *status.mutable_placement() = *placement_;
  for (const auto& [name, state] : members_) {
    v1::MemberStatus* member = status.add_members();
    *member->mutable_member() = state.member;
    member->set_silent_ms(static_cast<uint32_t>(Milliseconds(now - state.seen)));
    member->set_loaded_experts(
        static_cast<uint32_t>(std::count(state.loaded.begin(), state.loaded.end(), true)));
    member->set_rows_per_second(state.rows_per_second);
    member->set_draining(state.draining);
  }
  const Set unowned = UnownedItems();
  for (Item item = 0; item < unowned.size(); ++item) {
    if (!unowned[item]) continue;
    status.add_missing_experts((uint64_t{pool_.shape().layer(item)} << 32) |
                               pool_.shape().expert(item));
  }
  return status;
}

CoordinatorState::MemberState* CoordinatorState::FindById(uint64_t id) {
  for (auto& [name, state] : members_) {
    if (state.member.id() == id) return &state;
  }
  return nullptr;
}

// When we did not run ourselves, nobody could renew a lease with us.
void CoordinatorState::ForgivePause(TimePoint now) {
  const Duration gap = now - std::exchange(last_tick_, now);
  if (gap <= options_.lease / 2) return;
  LogWarning() << "the coordinator itself stood still for " << Milliseconds(gap)
               << " ms: leases are longer by that";
  for (auto& [name, state] : members_) state.seen = std::min(now, state.seen + gap);
}

void CoordinatorState::ExpireLeases(TimePoint now) {
  for (auto member = members_.begin(); member != members_.end();) {
    const auto current = member++;
    const Duration silent = now - current->second.seen;
    if (silent > options_.lease) {
      Leave(current, absl::StrCat("silent for ", Milliseconds(silent), " ms"));
    }
  }
}

std::vector<Order> CoordinatorState::Tick() {
  const TimePoint now = clock_.Now();
  ForgivePause(now);
  ExpireLeases(now);
  if (!serving_ && ReadyToServe(now)) BeginServing();
  std::vector<Order> orders;
  if (!serving_) return orders;
  if (plan_at_ && *plan_at_ <= now) Plan();
  if (changed_) Publish();
  for (auto& [name, state] : members_) {
    if (!IsHost(state)) continue;
    if (std::optional<Order> order = NextOrder(state, now)) orders.push_back(*std::move(order));
  }
  return orders;
}

}  // namespace switchyard::coordinator
