#include "router_service/remote_dispatcher.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "router_service/layer_in_flight.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace switchyard::router {
namespace {

using transport::Channel;
using transport::Direction;
using transport::FrameHeader;
using transport::Refusal;

// A host that refused an assignment is not asked again for this long, unless a new epoch comes.
constexpr Duration kRefusalPause = std::chrono::milliseconds(20);
// The wait for an answer doubles with each attempt, at most this often.
constexpr uint32_t kMostDoublings = 3;
// The longest sleep while assignments wait for credits, owners or connections.
constexpr Duration kPendingPause = std::chrono::milliseconds(2);

}  // namespace

struct RemoteDispatcher::State {
  explicit State(RemoteDispatcherOptions opts)
      : options(std::move(opts)),
        row_bytes(options.hidden * static_cast<uint32_t>(SizeOf(WireType(options.numerics)))),
        incarnation(options.incarnation),
        connections(
            options.request_channel, Layout(), *options.clock,
            [this](uint64_t member) { return Awaits(member); }, [this] { Wake(); }) {}

  transport::SlotLayout Layout() const {
    return {.rows = options.slot_assignments,
            .row_bytes = row_bytes,
            .metadata_bytes =
                options.slot_assignments * static_cast<uint32_t>(transport::kAssignmentBytes),
            .slots = options.slots};
  }

  bool Awaits(uint64_t member) const {
    return std::any_of(layers.begin(), layers.end(),
                       [member](const LayerInFlight& layer) { return layer.Awaits(member); });
  }
  void Wake();
  void TakeOrders();
  void ReceiveAll();
  void Receive(uint64_t member, const transport::ReceivedFrame& frame);
  void TakeRefusal(LayerInFlight& layer, uint64_t member, const FrameHeader& header);
  void SendPending(LayerInFlight& layer);
  void ChooseOwners(const LayerInFlight& layer);
  bool SendTo(LayerInFlight& layer, uint64_t member, std::span<const AssignmentIndex> assignments);
  FrameHeader DispatchHeader(const LayerInFlight& layer, uint32_t part) const;
  void CheckDeadline(LayerInFlight& layer);
  bool Reachable(uint32_t layer, uint32_t expert) const;
  absl::Status WhyPending(const LayerInFlight& layer, const std::string& what) const;
  bool EveryExpertReachable() const;
  void ForgetRefusals();
  void NoteState();

  const RemoteDispatcherOptions options;
  const uint32_t row_bytes;

  // Owned by the engine's thread.
  uint64_t incarnation = 0;
  std::unique_ptr<transport::Transport> transport;
  std::shared_ptr<const runtime::PlacementView> placement;
  std::array<LayerInFlight, kMicroBatches> layers;
  uint64_t next_batch = 1;
  std::vector<uint64_t> lost_members;
  std::map<uint64_t, TimePoint> refused_until;  // by member
  // Reused by SendPending: what goes to each host.
  std::map<uint64_t, std::vector<AssignmentIndex>> by_host;

  mutable std::mutex mutex;
  std::shared_ptr<const runtime::PlacementView> new_placement;
  std::optional<uint64_t> new_incarnation;
  transport::Transport* wake_target = nullptr;
  DispatchCounters counters;

  std::atomic<uint64_t> oldest_epoch{0};
  std::atomic<bool> ready{false};

  HostConnections connections;  // its thread calls Wake, so it goes first
};

absl::StatusOr<std::unique_ptr<RemoteDispatcher>> RemoteDispatcher::Start(
    RemoteDispatcherOptions options) {
  if (options.slot_assignments < options.top_k) {
    return absl::InvalidArgumentError(absl::StrCat("a slot of ", options.slot_assignments,
                                                   " assignments cannot hold one token's ",
                                                   options.top_k));
  }
  auto state = std::make_unique<State>(std::move(options));
  ASSIGN_OR_RETURN(state->transport, state->options.transport(state->incarnation));
  state->wake_target = state->transport.get();
  state->connections.SetTransport(state->transport.get());
  return std::unique_ptr<RemoteDispatcher>(new RemoteDispatcher(std::move(state)));
}

RemoteDispatcher::RemoteDispatcher(std::unique_ptr<State> state) : state_(std::move(state)) {}

RemoteDispatcher::~RemoteDispatcher() {
  state_->connections.SetHosts({});  // channels go before their transport
}

void RemoteDispatcher::Begin(const DispatchRequest& request) {
  LayerInFlight& layer = state_->layers[request.micro_batch];
  const uint64_t epoch = state_->placement == nullptr ? 0 : state_->placement->epoch();
  layer.Start(request, state_->next_batch++, epoch, state_->options.top_k, state_->row_bytes);
  state_->SendPending(layer);
}

bool RemoteDispatcher::Finished(uint32_t micro_batch, absl::Status* status) {
  LayerInFlight& layer = state_->layers[micro_batch];
  if (layer.active() && !layer.complete()) return false;
  if (layer.active()) layer.Finish(absl::OkStatus());
  *status = layer.failure();
  return true;
}

DispatchResult RemoteDispatcher::Result(uint32_t micro_batch) {
  return state_->layers[micro_batch].result();
}

void RemoteDispatcher::Abandon(uint32_t micro_batch) {
  state_->layers[micro_batch].Finish(absl::CancelledError("abandoned"));
}

void RemoteDispatcher::Wait(TimePoint deadline) {
  for (const LayerInFlight& layer : state_->layers) {
    if (!layer.active()) continue;
    deadline = std::min(deadline, layer.request().deadline);
    if (!layer.pending().empty()) {
      deadline = std::min(deadline, state_->options.clock->Now() + kPendingPause);
    }
  }
  state_->transport->Wait(deadline);
  Poll();
}

void RemoteDispatcher::Poll() {
  State& state = *state_;
  state.TakeOrders();
  state.transport->Progress();
  state.ReceiveAll();
  const bool changed = state.connections.Poll(state.lost_members);
  for (const uint64_t member : state.lost_members) {
    uint64_t moved = 0;
    for (LayerInFlight& layer : state.layers) moved += layer.LoseMember(member);
    std::lock_guard lock(state.mutex);
    ++state.counters.hosts_lost;
    state.counters.redispatched_assignments += moved;
  }
  state.ForgetRefusals();
  for (LayerInFlight& layer : state.layers) {
    if (!layer.active()) continue;
    const uint64_t resent = layer.ResendOverdue(state.options.clock->Now());
    if (resent > 0) {
      std::lock_guard lock(state.mutex);
      state.counters.redispatched_assignments += resent;
    }
    state.SendPending(layer);
    state.CheckDeadline(layer);
  }
  if (changed) state.NoteState();
  uint64_t oldest = state.placement == nullptr ? 0 : state.placement->epoch();
  for (const LayerInFlight& layer : state.layers) {
    if (layer.active()) oldest = std::min(oldest, layer.epoch());
  }
  state.oldest_epoch.store(oldest);
}

void RemoteDispatcher::Wake() { state_->Wake(); }

void RemoteDispatcher::SetPlacement(std::shared_ptr<const runtime::PlacementView> placement) {
  {
    std::lock_guard lock(state_->mutex);
    state_->new_placement = std::move(placement);
  }
  Wake();
}

void RemoteDispatcher::Reset(uint64_t incarnation) {
  {
    std::lock_guard lock(state_->mutex);
    state_->new_incarnation = incarnation;
  }
  Wake();
}

DispatchCounters RemoteDispatcher::Counters() const {
  std::lock_guard lock(state_->mutex);
  return state_->counters;
}

uint64_t RemoteDispatcher::OldestEpochInUse() const { return state_->oldest_epoch.load(); }

bool RemoteDispatcher::Ready() const { return state_->ready.load(); }

void RemoteDispatcher::State::Wake() {
  std::lock_guard lock(mutex);
  if (wake_target != nullptr) wake_target->Wake();
}

void RemoteDispatcher::State::TakeOrders() {
  std::shared_ptr<const runtime::PlacementView> next;
  std::optional<uint64_t> stranger;
  {
    std::lock_guard lock(mutex);
    next = std::exchange(new_placement, nullptr);
    stranger = std::exchange(new_incarnation, std::nullopt);
  }
  if (stranger.has_value()) {
    auto fresh = options.transport(*stranger);
    if (!fresh.ok()) {
      LogError() << "no transport under a new incarnation, trying again: "
                 << fresh.status().message();
      std::lock_guard lock(mutex);
      new_incarnation = stranger;
      return;
    }
    connections.SetTransport(fresh->get());
    for (LayerInFlight& layer : layers) layer.LoseAll();
    incarnation = *stranger;
    std::lock_guard lock(mutex);
    transport = *std::move(fresh);
    wake_target = transport.get();
  }
  if (next != nullptr) {
    placement = std::move(next);
    refused_until.clear();
    const auto& hosts = placement->hosts();
    connections.SetHosts({hosts.begin(), hosts.end()});
    NoteState();
  }
}

void RemoteDispatcher::State::ReceiveAll() {
  connections.ForEachOpen([this](uint64_t member, Channel& channel) {
    while (const auto frame = channel.TryReceive()) Receive(member, *frame);
  });
}

void RemoteDispatcher::State::Receive(uint64_t member, const transport::ReceivedFrame& frame) {
  const FrameHeader& header = frame.header();
  bool counts = false;
  if (header.router_incarnation == incarnation && header.micro_batch < kMicroBatches) {
    LayerInFlight& layer = layers[header.micro_batch];
    if (layer.active() && layer.batch() == header.batch && layer.request().layer == header.layer) {
      if (header.direction == Direction::kRefusal) {
        TakeRefusal(layer, member, header);
        return;
      }
      counts = header.direction == Direction::kCombine && header.row_bytes == row_bytes &&
               layer.TakeRows(member, header.attempt, header.part, frame.payload());
    }
  }
  if (counts) return;
  std::lock_guard lock(mutex);
  ++counters.stale_frames;
}

void RemoteDispatcher::State::TakeRefusal(LayerInFlight& layer, uint64_t member,
                                          const FrameHeader& header) {
  if (header.refusal == Refusal::kWrongModel || header.refusal == Refusal::kMalformed) {
    layer.Finish(absl::InternalError(absl::StrCat(
        connections.NameOf(member), " refused a dispatch of layer ", header.layer,
        header.refusal == Refusal::kMalformed ? " as malformed" : " as of another model")));
    return;
  }
  const uint64_t before = layer.pending().size();
  if (!layer.TakeRefusal(member, header.attempt, header.part)) return;
  refused_until[member] = options.clock->Now() + kRefusalPause;
  std::lock_guard lock(mutex);
  counters.redispatched_assignments += layer.pending().size() - before;
}

void RemoteDispatcher::State::ForgetRefusals() {
  if (refused_until.empty()) return;
  const TimePoint now = options.clock->Now();
  std::erase_if(refused_until, [now](const auto& entry) { return entry.second <= now; });
}

void RemoteDispatcher::State::ChooseOwners(const LayerInFlight& layer) {
  for (auto& [member, assignments] : by_host) assignments.clear();
  for (const AssignmentIndex index : layer.pending()) {
    std::vector<AssignmentIndex>* best = nullptr;
    for (const uint32_t host : placement->Owners(layer.request().layer, layer.ExpertOf(index))) {
      const uint64_t member = placement->hosts()[static_cast<int>(host)].id();
      if (connections.Find(member) == nullptr || refused_until.contains(member)) continue;
      std::vector<AssignmentIndex>& assignments = by_host[member];
      if (best == nullptr || assignments.size() < best->size()) best = &assignments;
    }
    if (best != nullptr) best->push_back(index);
  }
}

void RemoteDispatcher::State::SendPending(LayerInFlight& layer) {
  if (layer.pending().empty() || placement == nullptr) return;
  ChooseOwners(layer);
  for (const auto& [member, assignments] : by_host) {
    std::span<const AssignmentIndex> left = assignments;
    while (!left.empty()) {
      const size_t count = std::min<size_t>(left.size(), options.slot_assignments);
      if (!SendTo(layer, member, left.first(count))) break;
      left = left.subspan(count);
    }
  }
}

// False when the host has no credit left or its channel fails; the assignments stay pending.
bool RemoteDispatcher::State::SendTo(LayerInFlight& layer, uint64_t member,
                                     std::span<const AssignmentIndex> assignments) {
  Channel* channel = connections.Find(member);
  auto slot = channel == nullptr ? nullptr : channel->TryAcquire();
  if (slot == nullptr) return false;
  FrameHeader header = DispatchHeader(layer, layer.NextPart());
  std::byte* payload = slot->payload().data();
  uint32_t last_row = 0;
  for (size_t i = 0; i < assignments.size(); ++i) {
    const uint32_t row = layer.RowOf(assignments[i]);
    if (i == 0 || row != last_row) {
      std::memcpy(payload + size_t{header.rows} * row_bytes,
                  layer.request().activations + size_t{row} * row_bytes, row_bytes);
      ++header.rows;
      last_row = row;
    }
    const transport::Assignment assignment = {header.rows - 1, layer.ExpertOf(assignments[i]),
                                              layer.request().weights[assignments[i]]};
    transport::EncodeAssignments(
        {&assignment, 1},
        slot->metadata().subspan(i * transport::kAssignmentBytes, transport::kAssignmentBytes));
  }
  header.metadata_bytes = static_cast<uint32_t>(assignments.size() * transport::kAssignmentBytes);
  if (const absl::Status sent = channel->Send(std::move(slot), header); !sent.ok()) {
    LogWarning() << "dispatch to " << connections.NameOf(member) << ": " << sent.message();
    return false;
  }
  layer.SetSent(member, header.part,
                options.clock->Now() +
                    options.resend_after * (1 << std::min(layer.attempt(), kMostDoublings)),
                assignments);
  std::lock_guard lock(mutex);
  ++counters.frames;
  return true;
}

FrameHeader RemoteDispatcher::State::DispatchHeader(const LayerInFlight& layer,
                                                    uint32_t part) const {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(layer.request().deadline -
                                                                          options.clock->Now());
  FrameHeader header;
  header.model_digest = options.model_digest;
  header.weights_version = options.weights_version;
  header.numerics = options.numerics;
  header.direction = Direction::kDispatch;
  header.phase = layer.request().phase;
  header.sender = options.member;
  header.sender_incarnation = incarnation;
  header.router_incarnation = incarnation;
  header.batch = layer.batch();
  header.layer = layer.request().layer;
  header.micro_batch = layer.request().micro_batch;
  header.attempt = layer.attempt();
  header.part = part;
  header.epoch = placement->epoch();
  header.time_left_us = static_cast<uint32_t>(std::clamp<int64_t>(left.count(), 0, UINT32_MAX));
  header.row_bytes = row_bytes;
  return header;
}

void RemoteDispatcher::State::CheckDeadline(LayerInFlight& layer) {
  if (!layer.active() || layer.complete()) return;
  if (options.clock->Now() < layer.request().deadline) return;
  const std::string what = absl::StrCat(
      "layer ", layer.request().layer, ", batch ", layer.batch(), ": ", layer.missing(), " of ",
      layer.request().rows * options.top_k, " expert rows missing at the deadline; ");
  layer.Finish(layer.pending().empty()
                   ? absl::DeadlineExceededError(absl::StrCat(
                         what, "waiting for ", connections.NameOf(layer.AnyOutstandingMember())))
                   : WhyPending(layer, what));
}

bool RemoteDispatcher::State::Reachable(uint32_t layer, uint32_t expert) const {
  if (placement == nullptr) return false;
  const auto owners = placement->Owners(layer, expert);
  return std::any_of(owners.begin(), owners.end(), [this](uint32_t host) {
    return connections.Find(placement->hosts()[static_cast<int>(host)].id()) != nullptr;
  });
}

// Why assignments could not even be sent.
absl::Status RemoteDispatcher::State::WhyPending(const LayerInFlight& layer,
                                                 const std::string& what) const {
  std::set<uint32_t> orphans;
  for (const AssignmentIndex index : layer.pending()) {
    const uint32_t expert = layer.ExpertOf(index);
    if (!Reachable(layer.request().layer, expert)) orphans.insert(expert);
  }
  if (orphans.empty()) {
    return absl::DeadlineExceededError(
        absl::StrCat(what, "their hosts have had no free slot; they are overloaded or stuck"));
  }
  return absl::UnavailableError(
      absl::StrCat(what, "no reachable host owns expert ", absl::StrJoin(orphans, " ")));
}

bool RemoteDispatcher::State::EveryExpertReachable() const {
  for (const v1::LayerPlacement& layer : placement->placement().layers()) {
    for (uint32_t expert = 0; expert < placement->ExpertCount(layer.layer()); ++expert) {
      if (!Reachable(layer.layer(), expert)) return false;
    }
  }
  return true;
}

// Readiness and lanes, for reports.
void RemoteDispatcher::State::NoteState() {
  std::vector<std::string> lanes;
  connections.ForEachOpen(
      [&](uint64_t, const Channel& channel) { lanes.push_back(channel.lane()); });
  ready.store(placement != nullptr && EveryExpertReachable());
  std::lock_guard lock(mutex);
  counters.lanes = std::move(lanes);
}

}  // namespace switchyard::router
