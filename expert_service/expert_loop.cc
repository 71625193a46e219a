#include "expert_service/expert_loop.h"

#include <bit>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "expert_service/batch_queue.h"
#include "expert_service/grouped_batch.h"
#include "kernels/expert_ffn/finite.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/runtime/device_work.h"

namespace switchyard::expert {
namespace {

using transport::Channel;
using transport::ChannelState;
using transport::Direction;
using transport::FrameHeader;
using transport::Refusal;

// How long the idle loop sleeps at most before it looks for lost channels.
constexpr Duration kIdleWait = std::chrono::milliseconds(50);
// Between attempts to start a transport under a new incarnation.
constexpr Duration kTransportPause = std::chrono::milliseconds(100);
// How often the status report's lanes and counters of the transport are refreshed.
constexpr Duration kNotePeriod = std::chrono::milliseconds(500);
// Bounds on what a peer may make this host allocate for its channel.
constexpr uint64_t kMaxSlotBytes = uint64_t{64} << 20;

absl::Status CheckLayout(const transport::SlotLayout& layout, uint32_t row_bytes) {
  if (layout.row_bytes != row_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "slot rows of ", layout.row_bytes, " bytes offered, this model has ", row_bytes));
  }
  const uint64_t slot_bytes = uint64_t{layout.rows} * layout.row_bytes + layout.metadata_bytes;
  if (layout.rows == 0 || layout.slots == 0 || layout.slots > transport::kMaxSlots ||
      slot_bytes > kMaxSlotBytes ||
      layout.metadata_bytes < uint64_t{layout.rows} * transport::kAssignmentBytes) {
    return absl::FailedPreconditionError(absl::StrCat("slot layout of ", layout.slots, " slots, ",
                                                      layout.rows, " rows, ", layout.metadata_bytes,
                                                      " metadata bytes is out of bounds"));
  }
  return absl::OkStatus();
}

}  // namespace

struct ExpertLoop::State {
  explicit State(ExpertLoopOptions opts)
      : options(std::move(opts)), queue(options.max_batch_assignments) {
    row_bytes = options.hidden * SizeOf(WireType(options.numerics));
    for (const uint32_t experts : options.experts_per_layer) {
      counters.expert_rows.emplace_back(experts);
    }
  }

  void Run();
  void RunCommands();
  void DropLostChannels();
  absl::StatusOr<transport::PeerAddress> Open(const transport::PeerAddress& router,
                                              const transport::SlotLayout& layout, uint64_t nonce);
  void Drop(const Channel& channel);
  absl::Status StartTransport();
  void RetryTransport();
  void NoteTransport();
  void ReceiveAll();
  void Admit(Channel& channel, std::unique_ptr<transport::ReceivedFrame> frame);
  absl::Status Check(const transport::ReceivedFrame& frame, uint32_t max_assignments) const;
  void Refuse(Channel& channel, std::unique_ptr<transport::SendSlot> slot,
              const FrameHeader& dispatch, Refusal reason);
  void RefuseExpired();
  bool ComputeBatch();
  bool Reply(WaitingDispatch& dispatch);
  FrameHeader ReplyHeader(const FrameHeader& dispatch, Direction direction) const;
  absl::Status Execute(std::function<absl::Status()> command, TimePoint deadline);

  ExpertLoopOptions options;
  uint32_t row_bytes = 0;

  // Owned by the loop's thread.
  std::unique_ptr<transport::Transport> transport;
  std::map<uint64_t, std::unique_ptr<Channel>> channels;  // by member of the router worker
  BatchQueue queue;
  std::vector<WaitingDispatch> batch;
  GroupedBatch grouped;
  kernels::ExpertWorkspace workspace;
  bool needs_transport = false;  // of this incarnation; the old one has no channels any more
  TimePoint next_transport{};    // not tried again before
  TimePoint next_note{};
  uint64_t rejected_before = 0;  // on channels that are gone
  uint64_t bad_dispatches = 0;   // malformed, or for another model

  // A command of another thread; `done` is set under the mutex when it ran.
  struct Command {
    std::function<absl::Status()> run;
    absl::Status status;
    bool done = false;
  };

  mutable std::mutex mutex;
  std::condition_variable command_done;
  std::deque<std::shared_ptr<Command>> commands;
  bool stopping = false;
  ExpertLoopCounters counters;
  // Only the loop replaces the transport, under the mutex, so other threads may wake it safely.
  void WakeLocked() { transport->Wake(); }

  std::thread thread;
};

absl::StatusOr<std::unique_ptr<ExpertLoop>> ExpertLoop::Start(ExpertLoopOptions options) {
  RETURN_IF_ERROR(CheckComputes(*options.device, options.numerics));
  auto state = std::make_unique<State>(std::move(options));
  ASSIGN_OR_RETURN(state->transport, state->options.transport(state->options.incarnation));
  State* loop = state.get();
  state->thread = std::thread([loop] { loop->Run(); });
  return std::unique_ptr<ExpertLoop>(new ExpertLoop(std::move(state)));
}

ExpertLoop::ExpertLoop(std::unique_ptr<State> state) : state_(std::move(state)) {}

ExpertLoop::~ExpertLoop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->WakeLocked();
  }
  state_->thread.join();
}

absl::StatusOr<transport::PeerAddress> ExpertLoop::OpenChannel(const transport::PeerAddress& router,
                                                               const transport::SlotLayout& layout,
                                                               uint64_t nonce, TimePoint deadline) {
  RETURN_IF_ERROR(CheckLayout(layout, state_->row_bytes));
  auto address = std::make_shared<transport::PeerAddress>();
  RETURN_IF_ERROR(state_->Execute(
      [state = state_.get(), router, layout, nonce, address]() -> absl::Status {
        ASSIGN_OR_RETURN(*address, state->Open(router, layout, nonce));
        return absl::OkStatus();
      },
      deadline));
  return *address;
}

absl::Status ExpertLoop::Reset(uint64_t incarnation, TimePoint deadline) {
  return state_->Execute(
      [state = state_.get(), incarnation]() -> absl::Status {
        for (const auto& [member, channel] : state->channels) state->Drop(*channel);
        state->channels.clear();
        state->options.incarnation = incarnation;
        return state->StartTransport();
      },
      deadline);
}

absl::StatusOr<transport::PeerAddress> ExpertLoop::State::Open(const transport::PeerAddress& router,
                                                               const transport::SlotLayout& layout,
                                                               uint64_t nonce) {
  if (needs_transport) {
    return absl::UnavailableError("this expert host lost its lease and has no data path yet");
  }
  if (const auto old = channels.find(router.member); old != channels.end()) {
    Drop(*old->second);
    channels.erase(old);
  }
  ASSIGN_OR_RETURN(channels[router.member], transport->Open(router, layout, nonce));
  return transport->address();
}

// What is left to do before a channel is destroyed.
void ExpertLoop::State::Drop(const Channel& channel) {
  queue.DropChannel(&channel);
  rejected_before += channel.rejected_frames();
}

// Under the present incarnation, in place of the transport of an earlier one.
absl::Status ExpertLoop::State::StartTransport() {
  needs_transport = true;
  next_transport = options.clock->Now() + kTransportPause;
  ASSIGN_OR_RETURN(auto started, options.transport(options.incarnation));
  needs_transport = false;
  std::lock_guard lock(mutex);
  transport = std::move(started);
  return absl::OkStatus();
}

void ExpertLoop::State::RetryTransport() {
  if (!needs_transport || options.clock->Now() < next_transport) return;
  const absl::Status started = StartTransport();
  if (!started.ok()) LogError() << "no data path after a lost lease: " << started.message();
}

ExpertLoopCounters ExpertLoop::Counters() const {
  std::lock_guard lock(state_->mutex);
  return state_->counters;
}

absl::Status ExpertLoop::State::Execute(std::function<absl::Status()> run, TimePoint deadline) {
  auto command = std::make_shared<Command>();
  command->run = std::move(run);
  std::unique_lock lock(mutex);
  commands.push_back(command);
  WakeLocked();
  if (!command_done.wait_until(lock, deadline, [&] { return command->done; })) {
    return absl::DeadlineExceededError(
        "the expert host's data loop did not take up the command in time");
  }
  return command->status;
}

void ExpertLoop::State::Run() {
  kernels::SetComputeThreadFloatMode();
  while (true) {
    // Before the commands: it takes up a Wake, and the command that rang must run before a Wait.
    transport->Progress();
    RunCommands();
    {
      std::lock_guard lock(mutex);
      if (stopping) break;
    }
    RetryTransport();
    ReceiveAll();
    DropLostChannels();
    RefuseExpired();
    NoteTransport();
    if (!ComputeBatch()) transport->Wait(options.clock->Now() + kIdleWait);
  }
  queue = BatchQueue(options.max_batch_assignments);
  channels.clear();
}

void ExpertLoop::State::RunCommands() {
  std::unique_lock lock(mutex);
  while (!commands.empty()) {
    const std::shared_ptr<Command> command = std::move(commands.front());
    commands.pop_front();
    lock.unlock();
    const absl::Status status = command->run();
    lock.lock();
    command->status = status;
    command->done = true;
    command_done.notify_all();
  }
}

void ExpertLoop::State::DropLostChannels() {
  for (auto entry = channels.begin(); entry != channels.end();) {
    Channel& channel = *entry->second;
    if (channel.state() == ChannelState::kLost) {
      LogInfo() << "router worker " << channel.peer().member << " is gone, dropping its channel";
      Drop(channel);
      entry = channels.erase(entry);
    } else {
      ++entry;
    }
  }
}

void ExpertLoop::State::NoteTransport() {
  const TimePoint now = options.clock->Now();
  if (now < next_note) return;
  next_note = now + kNotePeriod;
  std::lock_guard lock(mutex);
  counters.lanes.clear();
  counters.rejected_frames = rejected_before;
  counters.late_messages = transport->late_messages();
  for (const auto& [member, channel] : channels) {
    counters.lanes.push_back(channel->lane());
    counters.rejected_frames += channel->rejected_frames();
  }
}

void ExpertLoop::State::ReceiveAll() {
  for (const auto& [member, channel] : channels) {
    while (auto frame = channel->TryReceive()) Admit(*channel, std::move(frame));
  }
}

// FAILED_PRECONDITION where the sender serves another model, INVALID_ARGUMENT where the frame is
// malformed.
absl::Status ExpertLoop::State::Check(const transport::ReceivedFrame& frame,
                                      uint32_t max_assignments) const {
  const FrameHeader& header = frame.header();
  if (header.model_digest != options.model_digest ||
      header.weights_version != options.weights_version || header.numerics != options.numerics) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is for model ", absl::Hex(header.model_digest), " version ",
                     header.weights_version, " class ", std::string(kernels::Name(header.numerics)),
                     ", here are ", absl::Hex(options.model_digest), ", ", options.weights_version,
                     " and ", std::string(kernels::Name(options.numerics))));
  }
  if (header.layer >= options.experts_per_layer.size()) {
    return absl::InvalidArgumentError(absl::StrCat("dispatch frame: layer ", header.layer, " of ",
                                                   options.experts_per_layer.size()));
  }
  return transport::CheckDispatch(header, frame.metadata(), options.experts_per_layer[header.layer],
                                  row_bytes, max_assignments);
}

void ExpertLoop::State::Admit(Channel& channel, std::unique_ptr<transport::ReceivedFrame> frame) {
  // The reply has one row per assignment, so a slot's rows bound the assignments.
  if (const absl::Status status = Check(*frame, channel.layout().rows); !status.ok()) {
    // Ever more seldom, so that a hostile peer cannot fill the log.
    if (std::has_single_bit(++bad_dispatches)) {
      LogWarning() << "refused a dispatch of router worker " << channel.peer().member << ", "
                   << bad_dispatches << " so far: " << status.message();
    }
    Refuse(channel, channel.TryAcquire(), frame->header(),
           absl::IsFailedPrecondition(status) ? Refusal::kWrongModel : Refusal::kMalformed);
    return;
  }
  const FrameHeader& header = frame->header();
  const auto assignments =
      static_cast<uint32_t>(header.metadata_bytes / transport::kAssignmentBytes);
  const TimePoint expires = options.clock->Now() + std::chrono::microseconds(header.time_left_us);
  queue.Push({&channel, std::move(frame), nullptr, assignments, expires});
}

FrameHeader ExpertLoop::State::ReplyHeader(const FrameHeader& dispatch, Direction direction) const {
  FrameHeader header = dispatch;
  header.direction = direction;
  header.sender = options.member;
  header.sender_incarnation = options.incarnation;
  header.rows = 0;
  header.row_bytes = row_bytes;
  header.metadata_bytes = 0;
  return header;
}

void ExpertLoop::State::Refuse(Channel& channel, std::unique_ptr<transport::SendSlot> slot,
                               const FrameHeader& dispatch, Refusal reason) {
  {
    std::lock_guard lock(mutex);
    ++counters.frames_refused;
  }
  if (slot == nullptr) return;  // no credit: the sender's own deadline covers it
  FrameHeader header = ReplyHeader(dispatch, Direction::kRefusal);
  header.refusal = reason;
  if (const absl::Status sent = channel.Send(std::move(slot), header); !sent.ok()) {
    LogWarning() << "could not refuse a dispatch: " << sent.message();
  }
}

void ExpertLoop::State::RefuseExpired() {
  for (WaitingDispatch& dispatch : queue.TakeExpired(options.clock->Now())) {
    Refuse(*dispatch.channel, dispatch.channel->TryAcquire(), dispatch.frame->header(),
           Refusal::kExpired);
  }
}

bool ExpertLoop::State::ComputeBatch() {
  queue.TakeBatch(batch);
  if (batch.empty()) return false;
  const auto refused = grouped.Build(batch, options.store->Snapshot(), WireType(options.numerics));
  const TimePoint begin = options.clock->Now();
  if (!grouped.batch().rows.empty()) {
    options.device->ExpertFfn(grouped.batch(), workspace);
    FinishOn(*options.device);
  }
  const TimePoint end = options.clock->Now();
  for (const size_t index : refused) {
    WaitingDispatch& dispatch = batch[index];
    Refuse(*dispatch.channel, std::move(dispatch.reply), dispatch.frame->header(),
           Refusal::kNotOwned);
  }
  uint64_t frames = 0;
  for (WaitingDispatch& dispatch : batch) {
    if (dispatch.reply != nullptr && Reply(dispatch)) ++frames;
  }
  batch.clear();
  grouped.ReleaseExperts();
  std::lock_guard lock(mutex);
  counters.frames_done += frames;
  counters.rows_done += grouped.batch().rows.size();
  counters.busy += end - begin;
  counters.last_batch = end;
  for (const auto& load : grouped.loads()) {
    counters.expert_rows[load.id.layer][load.id.expert] += load.rows;
  }
  return true;
}

// False when the frame was refused after all: an overflowed row must not reach a request that could
// not tell it from a good one.
bool ExpertLoop::State::Reply(WaitingDispatch& dispatch) {
  const int64_t elements = int64_t{dispatch.assignments} * options.hidden;
  if (!kernels::AllFinite(dispatch.reply->payload().data(), WireType(options.numerics), elements)) {
    Refuse(*dispatch.channel, std::move(dispatch.reply), dispatch.frame->header(),
           Refusal::kNotFinite);
    return false;
  }
  FrameHeader header = ReplyHeader(dispatch.frame->header(), Direction::kCombine);
  header.rows = dispatch.assignments;
  const absl::Status sent = dispatch.channel->Send(std::move(dispatch.reply), header);
  if (!sent.ok()) LogWarning() << "could not return expert rows: " << sent.message();
  return true;
}

}  // namespace switchyard::expert
