#include "router_service/remote_dispatcher.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "router_service/dispatch_frame.h"
#include "router_service/layer_in_flight.h"
#include "router_service/owner_choice.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace switchyard::router {
namespace {

using transport::Channel;
using transport::Direction;
using transport::FrameHeader;
using transport::Refusal;

// A host that does not hold an expert is not asked again for this long, unless a new epoch comes.
constexpr Duration kRefusalPause = std::chrono::milliseconds(20);
// The wait for an answer doubles each time that it was in vain, at most this often.
constexpr uint32_t kMostDoublings = 3;
// The longest sleep while assignments wait for credits, owners or connections.
constexpr Duration kPendingPause = std::chrono::milliseconds(2);
// Between attempts to make a transport.
constexpr Duration kTransportPause = std::chrono::milliseconds(100);
// How often the reported state is refreshed.
constexpr Duration kNotePeriod = std::chrono::milliseconds(500);

}  // namespace

struct RemoteDispatcher::State {
  explicit State(RemoteDispatcherOptions opts)
      : options(std::move(opts)),
        row_bytes(options.hidden * static_cast<uint32_t>(SizeOf(WireType(options.numerics)))),
        incarnation(options.incarnation),
        owners([this](uint64_t member) { return connections.Find(member) != nullptr; }),
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
  void TakeIncarnation(uint64_t stranger);
  void TakePlacement(std::shared_ptr<const runtime::PlacementView> next);
  void LoseHosts();
  void Resend(LayerInFlight& layer);
  void NoteOldestEpoch();
  void ReceiveAll();
  void Receive(uint64_t member, const transport::ReceivedFrame& frame);
  bool TakeRefusal(LayerInFlight& layer, uint64_t member, const FrameHeader& header);
  void GiveUpOn(LayerInFlight& layer, uint64_t member, const FrameHeader& header);
  void SendPending(LayerInFlight& layer);
  bool SendTo(LayerInFlight& layer, uint64_t member, std::span<const AssignmentIndex> assignments);
  FrameHeader DispatchHeader(const LayerInFlight& layer, uint32_t part) const;
  void CheckDeadline(LayerInFlight& layer);
  absl::Status WhyPending(const LayerInFlight& layer, const std::string& what) const;
  void CountRedispatched(uint64_t assignments);
  void NoteState();

  const RemoteDispatcherOptions options;
  const uint32_t row_bytes;

  // Owned by the engine's thread.
  uint64_t incarnation = 0;
  std::unique_ptr<transport::Transport> transport;
  OwnerChoice owners;
  std::array<LayerInFlight, kMicroBatches> layers;
  uint64_t next_batch = 1;
  std::vector<uint64_t> lost_members;
  std::set<uint64_t> late_members;  // reused
  TimePoint next_transport{};       // not tried again before
  TimePoint next_note{};

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
  const runtime::PlacementView* const placement = state_->owners.placement();
  layer.Start(request, state_->options.clock->Now() + request.timeout, state_->next_batch++,
              placement == nullptr ? 0 : placement->epoch(), state_->options.top_k,
              state_->row_bytes);
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
    deadline = std::min(deadline, layer.deadline());
    if (!layer.pending().empty()) {
      deadline = std::min(deadline, state_->options.clock->Now() + kPendingPause);
    }
  }
  if (state_->next_transport > state_->options.clock->Now()) {
    deadline = std::min(deadline, state_->next_transport);
  }
  state_->transport->Wait(deadline);
  Poll();
}

void RemoteDispatcher::Poll() {
  State& state = *state_;
  // Before the orders: it takes up a Wake, and what that announced must be seen before the next
  // Wait.
  state.transport->Progress();
  state.TakeOrders();
  state.ReceiveAll();
  const bool changed = state.connections.Poll(state.lost_members);
  state.LoseHosts();
  state.owners.EndPauses(state.options.clock->Now());
  for (LayerInFlight& layer : state.layers) {
    if (!layer.active()) continue;
    state.Resend(layer);
    state.SendPending(layer);
    state.CheckDeadline(layer);
  }
  if (changed || state.options.clock->Now() >= state.next_note) state.NoteState();
  state.NoteOldestEpoch();
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
    if (options.clock->Now() >= next_transport) {
      stranger = std::exchange(new_incarnation, std::nullopt);
    }
  }
  if (stranger.has_value()) TakeIncarnation(*stranger);
  if (next != nullptr) TakePlacement(std::move(next));
}

void RemoteDispatcher::State::TakeIncarnation(uint64_t stranger) {
  auto fresh = options.transport(stranger);
  if (!fresh.ok()) {
    LogError() << "no transport under a new incarnation, trying again: "
               << fresh.status().message();
    next_transport = options.clock->Now() + kTransportPause;
    std::lock_guard lock(mutex);
    if (!new_incarnation.has_value()) new_incarnation = stranger;  // else it is a later one
    return;
  }
  connections.SetTransport(fresh->get());
  for (LayerInFlight& layer : layers) layer.LoseAll();
  incarnation = stranger;
  std::lock_guard lock(mutex);
  transport = *std::move(fresh);
  wake_target = transport.get();
}

void RemoteDispatcher::State::TakePlacement(std::shared_ptr<const runtime::PlacementView> next) {
  const auto& hosts = next->hosts();
  connections.SetHosts({hosts.begin(), hosts.end()});
  owners.SetPlacement(std::move(next));
  NoteState();
}

void RemoteDispatcher::State::LoseHosts() {
  for (const uint64_t member : lost_members) {
    owners.Trust(member);  // should it come back
    for (LayerInFlight& layer : layers) CountRedispatched(layer.LoseMember(member));
    std::lock_guard lock(mutex);
    ++counters.hosts_lost;
  }
}

// A host that did not answer in time may be stuck, so the frame goes to another one if it can.
void RemoteDispatcher::State::Resend(LayerInFlight& layer) {
  late_members.clear();
  CountRedispatched(layer.ResendOverdue(options.clock->Now(), late_members));
  for (const uint64_t member : late_members) owners.Avoid(member);
}

void RemoteDispatcher::State::CountRedispatched(uint64_t assignments) {
  if (assignments == 0) return;
  std::lock_guard lock(mutex);
  counters.redispatched_assignments += assignments;
}

void RemoteDispatcher::State::NoteOldestEpoch() {
  uint64_t oldest = owners.placement() == nullptr ? 0 : owners.placement()->epoch();
  for (const LayerInFlight& layer : layers) {
    if (layer.active()) oldest = std::min(oldest, layer.epoch());
  }
  oldest_epoch.store(oldest);
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
        counts = TakeRefusal(layer, member, header);
      } else if (header.direction == Direction::kCombine && header.row_bytes == row_bytes) {
        counts = layer.TakeRows(member, header.attempt, header.part, frame.payload());
        if (counts) owners.Trust(member);
      }
    }
  }
  if (counts) return;
  std::lock_guard lock(mutex);
  ++counters.stale_frames;
}

// False when it refuses nothing that is outstanding.
bool RemoteDispatcher::State::TakeRefusal(LayerInFlight& layer, uint64_t member,
                                          const FrameHeader& header) {
  const uint64_t before = layer.pending().size();
  const bool outstanding = header.refusal == Refusal::kNotFinite
                               ? layer.TakeNotFinite(member, header.attempt, header.part)
                               : layer.TakeRefusal(member, header.attempt, header.part);
  if (!outstanding) return false;
  CountRedispatched(layer.pending().size() - before);
  if (header.refusal == Refusal::kNotOwned) {
    owners.Pause(member, options.clock->Now() + kRefusalPause);
  } else if (header.refusal == Refusal::kWrongModel || header.refusal == Refusal::kMalformed) {
    GiveUpOn(layer, member, header);
  }
  return true;
}

// Asking this host again would not help, but another owner may be sound.
void RemoteDispatcher::State::GiveUpOn(LayerInFlight& layer, uint64_t member,
                                       const FrameHeader& header) {
  owners.Avoid(member);
  layer.Exclude(member);
  if (!owners.EveryOwnerExcluded(layer)) return;
  layer.Finish(absl::InternalError(absl::StrCat(
      connections.NameOf(member), " refused a dispatch of layer ", header.layer,
      header.refusal == Refusal::kMalformed ? " as malformed" : " as of another model")));
}

void RemoteDispatcher::State::SendPending(LayerInFlight& layer) {
  if (layer.pending().empty()) return;
  for (const auto& [member, assignments] : owners.Choose(layer)) {
    std::span<const AssignmentIndex> left = assignments;
    while (!left.empty()) {
      const size_t count = FrameLength(layer, left, options.slot_assignments);
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
  FillFrame(layer, assignments, row_bytes, *slot, header);
  if (const absl::Status sent = channel->Send(std::move(slot), header); !sent.ok()) {
    LogWarning() << "dispatch to " << connections.NameOf(member) << ": " << sent.message();
    return false;
  }
  layer.SetSent(member, header.part,
                options.clock->Now() +
                    options.resend_after * (1 << std::min(layer.overdue_resends(), kMostDoublings)),
                assignments);
  std::lock_guard lock(mutex);
  ++counters.frames;
  return true;
}

FrameHeader RemoteDispatcher::State::DispatchHeader(const LayerInFlight& layer,
                                                    uint32_t part) const {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(layer.deadline() -
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
  header.epoch = owners.placement()->epoch();
  header.time_left_us = static_cast<uint32_t>(std::clamp<int64_t>(left.count(), 0, UINT32_MAX));
  return header;
}

void RemoteDispatcher::State::CheckDeadline(LayerInFlight& layer) {
  if (!layer.active() || layer.complete()) return;
  if (options.clock->Now() < layer.deadline()) return;
  const std::string what = absl::StrCat(
      "layer ", layer.request().layer, ", batch ", layer.batch(), ": ", layer.missing(), " of ",
      layer.request().rows * options.top_k, " expert rows missing at the deadline; ");
  layer.Finish(layer.pending().empty()
                   ? absl::DeadlineExceededError(absl::StrCat(
                         what, "waiting for ", connections.NameOf(layer.AnyOutstandingMember())))
                   : WhyPending(layer, what));
}

// Why assignments could not even be sent.
absl::Status RemoteDispatcher::State::WhyPending(const LayerInFlight& layer,
                                                 const std::string& what) const {
  const std::set<uint32_t> orphans = owners.Orphans(layer);
  if (orphans.empty()) {
    return absl::DeadlineExceededError(
        absl::StrCat(what, "their hosts have had no free slot; they are overloaded or stuck"));
  }
  return absl::UnavailableError(
      absl::StrCat(what, "no reachable host owns expert ", absl::StrJoin(orphans, " ")));
}

// Readiness, lanes and the transport's counters, for reports.
void RemoteDispatcher::State::NoteState() {
  next_note = options.clock->Now() + kNotePeriod;
  std::vector<std::string> lanes;
  connections.ForEachOpen(
      [&](uint64_t, const Channel& channel) { lanes.push_back(channel.lane()); });
  ready.store(owners.Complete(options.needed_layers));
  std::lock_guard lock(mutex);
  counters.lanes = std::move(lanes);
  counters.rejected_frames = connections.rejected_frames();
  counters.late_messages = transport->late_messages();
}

}  // namespace switchyard::router
