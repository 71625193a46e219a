#include "router_service/engine.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router_service/evaluation.h"
#include "router_service/generation.h"
#include "router_service/planned_chunk.h"
#include "router_service/sequence.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/model/whole_rows.h"
#include "services/runtime/device_work.h"

namespace switchyard::router {
namespace {

using transport::Phase;

// An idle loop looks around this often although nobody woke it.
constexpr Duration kIdleWait = std::chrono::milliseconds(500);

// Deadlines are looked at no more often than this.
constexpr Duration kExpiryInterval = std::chrono::milliseconds(5);

// Tasks that keep the rows of a full pass: with so many of them no other full pass begins, since
// passes are faster than clients that take the logits.
constexpr int64_t kMostKeeping = 2;

RequestLimits LimitsOf(const Pipeline& pipeline, const EngineOptions& options) {
  const model::ModelSpec& spec = pipeline.spec();
  const model::WholeRows whole = model::WholeRowsOf(spec);
  // A source begins on a page of its own, and the decoder with a token of its own.
  const int64_t pages =
      whole.sources ? std::max<int64_t>(0, options.kv_pages - 2) : options.kv_pages;
  return {.vocabulary = spec.vocabulary,
          .max_positions = std::min(spec.max_positions, pages * kPagePositions),
          .max_whole = pipeline.max_rows(),
          .whole = whole,
          .mtp = options.draft_tokens > 0};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Start(const model::Checkpoint& checkpoint,
                                                      const EngineOptions& options,
                                                      kernels::Device& device,
                                                      ExpertDispatcher& dispatcher,
                                                      const model::LoadProgress& progress) {
  if (options.micro_batches < 1 || options.micro_batches > ExpertDispatcher::kMicroBatches) {
    return absl::InvalidArgumentError(absl::StrCat("micro_batches: ", options.micro_batches,
                                                   " is not between 1 and ",
                                                   ExpertDispatcher::kMicroBatches));
  }
  RETURN_IF_ERROR(CheckComputes(device, options.numerics));
  ASSIGN_OR_RETURN(std::unique_ptr<Pipeline> pipeline,
                   Pipeline::Load(checkpoint,
                                  {.numerics = options.numerics,
                                   .stages = options.stages,
                                   .kv_pages = options.kv_pages,
                                   .max_rows = options.scheduler.max_batch_rows,
                                   .mtp = options.draft_tokens > 0},
                                  device, dispatcher, progress));
  const BlockHash chain_root = ChainRoot(checkpoint.digest(), /*weights_version=*/1,
                                         kernels::Name(options.numerics), options.prefix_seed);
  return std::unique_ptr<Engine>(
      new Engine(options, chain_root, device, dispatcher, std::move(pipeline)));
}

Engine::Engine(const EngineOptions& options, const BlockHash& chain_root, kernels::Device& device,
               ExpertDispatcher& dispatcher, std::unique_ptr<Pipeline> pipeline)
    : options_(options),
      device_(device),
      dispatcher_(dispatcher),
      pipeline_(std::move(pipeline)),
      limits_(LimitsOf(*pipeline_, options)),
      cache_(options.kv_pages),
      scheduler_(options.scheduler, chain_root, cache_),
      sampler_(device, limits_.vocabulary),
      logits_(std::min(kLogitsRows, pipeline_->max_rows()) * limits_.vocabulary * sizeof(float)),
      status_line_(options.clock->Now(), options.status_interval) {
  status_.kv_pages_total = options.kv_pages;
  thread_ = std::thread([this] { Run(); });
}

Engine::~Engine() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    stop_ = true;
  }
  dispatcher_.Wake();
  thread_.join();
}

absl::StatusOr<uint64_t> Engine::Generate(GenerateParameters parameters,
                                          std::shared_ptr<GenerationSink> sink) {
  RETURN_IF_ERROR(Validate(parameters, limits_));
  const model::ModelSpec& spec = pipeline_->spec();
  std::vector<int32_t> source;
  if (limits_.whole.sources) {
    source = std::exchange(parameters.prompt, {static_cast<int32_t>(spec.decoder_start_token)});
  }
  const int64_t prompt = std::ssize(parameters.prompt);
  const SequenceRope rope = pipeline_->ropes().Of(prompt + parameters.max_tokens);
  auto task = std::make_unique<Generation>(std::move(parameters), spec.eos_tokens,
                                           options_.draft_tokens, std::move(sink));
  Sequence& sequence = task->sequence;
  sequence.source = std::move(source);
  sequence.rope = rope;
  if (limits_.whole.prompts) sequence.whole_rows = prompt;
  // What a cached page holds was computed from its tokens alone.
  sequence.share_prefix &= !limits_.whole.prompts && !limits_.whole.sources;
  return Submit(std::move(task));
}

absl::StatusOr<uint64_t> Engine::Evaluate(EvaluateParameters parameters,
                                          std::shared_ptr<EvaluationSink> sink) {
  RETURN_IF_ERROR(Validate(parameters, limits_));
  auto task =
      std::make_unique<Evaluation>(std::move(parameters), pipeline_->spec(), std::move(sink));
  Sequence& sequence = task->sequence;
  sequence.rope = pipeline_->ropes().Of(std::ssize(sequence.tokens));
  sequence.full_pass = limits_.whole.evaluations;
  if (sequence.full_pass) sequence.whole_rows = std::ssize(sequence.tokens);
  return Submit(std::move(task));
}

absl::StatusOr<uint64_t> Engine::Submit(std::unique_ptr<Task> task) {
  uint64_t id;
  {
    std::lock_guard lock(mutex_);
    if (draining_) return absl::UnavailableError("the router worker is draining");
    if (requests_ >= options_.max_requests) {
      return absl::ResourceExhaustedError(
          absl::StrCat("queue full: ", requests_, " requests are running or waiting"));
    }
    ++requests_;
    id = task->sequence.id = ++last_id_;
    submitted_.push_back(std::move(task));
  }
  dispatcher_.Wake();
  return id;
}

void Engine::Cancel(uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  dispatcher_.Wake();
}

bool Engine::Drain(Duration timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  return idle_.wait_for(lock, timeout, [this] { return requests_ == 0; });
}

EngineStatus Engine::Status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void Engine::Run() {
  kernels::SetComputeThreadFloatMode();
  while (true) {
    // Poll first: it takes up a Wake, and what that announced must be seen before the next Wait.
    dispatcher_.Poll();
    if (!TakeCommands()) break;
    ExpireDeadlines();
    const bool started = StartBatches();
    const bool advanced = AdvanceBatches();
    PublishStatus();
    if (!started && !advanced) dispatcher_.Wait(NextWakeup());
  }
  for (uint32_t index = 0; index < options_.micro_batches; ++index) {
    if (flights_[index].busy) AbandonBatch(index);
  }
  while (!tasks_.empty()) {
    Fail(*tasks_.begin()->second, absl::UnavailableError("the router worker is stopping"));
  }
}

// False when the engine is to stop.
bool Engine::TakeCommands() {
  std::vector<std::unique_ptr<Task>> submitted;
  std::vector<uint64_t> cancelled;
  bool stop;
  {
    std::lock_guard lock(mutex_);
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
    stop = stop_;
  }
  for (std::unique_ptr<Task>& task : submitted) Add(std::move(task));
  for (const uint64_t id : cancelled) {
    if (const auto task = tasks_.find(id); task != tasks_.end()) End(*task->second);
  }
  return !stop;
}

void Engine::Add(std::unique_ptr<Task> task) {
  if (task->FinishAtOnce()) {
    std::lock_guard lock(mutex_);
    --requests_;
    idle_.notify_all();
    return;
  }
  scheduler_.Add(task->sequence);
  const uint64_t id = task->sequence.id;
  tasks_.emplace(id, std::move(task));
}

void Engine::ExpireDeadlines() {
  const TimePoint now = options_.clock->Now();
  if (now < next_expiry_) return;
  next_expiry_ = now + kExpiryInterval;
  std::vector<Task*> expired;
  for (const auto& [id, task] : tasks_) {
    if (task->deadline <= now && !task->ended) expired.push_back(task.get());
  }
  for (Task* const task : expired) {
    Fail(*task, absl::DeadlineExceededError(
                    absl::StrCat("the request's deadline passed ",
                                 task->sequence.pages.empty() ? "while it waited" : "while it ran",
                                 ", with ", task->sequence.tokens.size(), " tokens")));
  }
}

bool Engine::StartBatches() {
  const auto in_use = std::span(flights_).first(options_.micro_batches);
  if (std::all_of(in_use.begin(), in_use.end(), [](const Flight& flight) { return flight.busy; })) {
    return false;
  }
  const bool enough = keeping() >= kMostKeeping;
  for (const auto& [id, task] : tasks_) {
    task->sequence.paused = !task->HasRoom() || (enough && task->sequence.full_pass);
  }
  bool any = false;
  for (uint32_t index = 0; index < options_.micro_batches; ++index) {
    if (flights_[index].busy) continue;
    any |= TakeKeptLogits(index);
    any |= StartBatch(index);
  }
  return any;
}

bool Engine::StartBatch(uint32_t index) {
  std::optional<Phase> other;
  for (const Flight& flight : flights_) {
    if (flight.busy) other = flight.plan.phase;
  }
  Flight& flight = flights_[index];
  if (!scheduler_.Next(other, flight.plan)) return false;
  flight.busy = true;
  flight.started = options_.clock->Now();
  flight.mtp_passes = 0;
  flight.chunks.clear();
  flight.parts.clear();
  int64_t first_row = 0;
  for (const PlannedChunk& chunk : flight.plan.chunks) {
    flight.chunks.push_back(ChunkOf(chunk, flight.plan.encoder));
    flight.parts.push_back({.task = &TaskOf(chunk),
                            .first_position = chunk.first_position,
                            .first_row = first_row,
                            .rows = chunk.rows});
    first_row += chunk.rows;
  }
  pipeline_->batch(index).Assign(flight.chunks, flight.plan.phase, options_.expert_timeout);
  if (pipeline_->Start(index) == BatchProgress::kDone) FinishPass(index);
  return true;
}

bool Engine::AdvanceBatches() {
  bool any = false;
  for (const Phase phase : {Phase::kDecode, Phase::kPrefill}) {
    for (uint32_t index = 0; index < options_.micro_batches; ++index) {
      if (flights_[index].busy && flights_[index].plan.phase == phase) any |= AdvanceBatch(index);
    }
  }
  return any;
}

bool Engine::AdvanceBatch(uint32_t index) {
  const std::vector<PlannedChunk>& chunks = flights_[index].plan.chunks;
  if (std::all_of(chunks.begin(), chunks.end(),
                  [this](const PlannedChunk& chunk) { return TaskOf(chunk).ended; })) {
    AbandonBatch(index);
    return true;
  }
  const absl::StatusOr<BatchProgress> progress = pipeline_->Advance(index);
  if (!progress.ok()) {
    flights_[index].mtp_passes > 0 ? FailMtpPass(index, progress.status())
                                   : FailBatch(index, progress.status());
  } else if (*progress == BatchProgress::kDone) {
    FinishPass(index);
  } else {
    return *progress == BatchProgress::kMoved;
  }
  return true;
}

void Engine::AbandonBatch(uint32_t index) {
  pipeline_->Abandon(index);
  flights_[index].busy = false;
  for (const PlannedChunk& chunk : flights_[index].plan.chunks) Leave(chunk);
}

// Nothing of the micro-batch is used. Experts can come back, and computing its rows again gives the
// same bits, so requests that may still wait are tried again.
void Engine::FailBatch(uint32_t index, const absl::Status& status) {
  Flight& flight = flights_[index];
  flight.busy = false;
  const bool may_mend = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  const TimePoint now = options_.clock->Now();
  for (const PlannedChunk& chunk : flight.plan.chunks) {
    Task& task = TaskOf(chunk);
    const bool ended = task.ended;
    Leave(chunk);
    if (ended) continue;
    if (!task.stalled_since) task.stalled_since = flight.started;
    if (!may_mend || now >= task.deadline || now - *task.stalled_since >= options_.expert_timeout) {
      Fail(task, status);
    }
  }
}

void Engine::FinishPass(uint32_t index) {
  Flight& flight = flights_[index];
  while (true) {
    FailParts(index);
    if (!flight.plan.encoder) TakeLogits(index);
    if (flight.mtp_passes == 1) TakeMtpRows(index);
    if (!PlanMtpPass(index)) break;
    if (pipeline_->StartMtp(index, flight.chunks, flight.source_rows) == BatchProgress::kMoved) {
      return;
    }
  }
  FinishBatch(index);
}

void Engine::FinishBatch(uint32_t index) {
  Flight& flight = flights_[index];
  flight.busy = false;
  int64_t first_row = 0;
  for (const PlannedChunk& chunk : flight.plan.chunks) {
    FinishChunk(index, chunk, first_row);
    first_row += chunk.rows;
  }
}

// Ends tasks one of whose rows has failed. Rows that are only guesses may fail: what they were to
// tell is then not known.
void Engine::FailParts(uint32_t index) {
  const Flight& flight = flights_[index];
  const MicroBatch& batch = pipeline_->batch(index);
  for (size_t i = 0; i < flight.parts.size(); ++i) {
    const Part& part = flight.parts[i];
    const bool model = flight.mtp_passes == 0;
    if (part.task->ended || (!model && part.task->mtp_use() == MtpUse::kGuess)) continue;
    const int64_t rows = part.rows - (model ? flight.plan.chunks[i].drafts : 0);
    for (int64_t row = 0; row < rows; ++row) {
      if (!batch.RowFailed(part.first_row + row)) continue;
      Fail(*part.task, absl::InternalError(absl::StrCat(
                           "the model's values for a token at position ", part.first_position + row,
                           " are not numbers: its router chose no expert, or an expert "
                           "overflowed")));
      break;
    }
  }
}

void Engine::FinishChunk(uint32_t index, const PlannedChunk& chunk, int64_t first_row) {
  Task& task = TaskOf(chunk);
  if (task.ended) return Leave(chunk);
  const std::span<const int32_t> chosen = task.chosen();
  PlannedChunk kept = chunk;
  if (chunk.drafts > 0) {
    const int64_t accepted = std::ssize(chosen) - 1;  // the last comes from the row behind them
    kept.rows -= chunk.drafts - accepted;
    draft_tokens_ += chunk.drafts;
    accepted_draft_tokens_ += accepted;
  }
  task.sequence.tokens.insert(task.sequence.tokens.end(), chosen.begin(), chosen.end());
  scheduler_.Complete(kept);
  task.stalled_since.reset();
  if (flights_[index].plan.encoder) {
    task.EndEncoder(pipeline_->batch(index), first_row, chunk.rows);
  } else {
    EndChunk(index, kept, first_row);
  }
}

void Engine::EndChunk(uint32_t index, const PlannedChunk& chunk, int64_t first_row) {
  Task& task = TaskOf(chunk);
  const ChunkOutcome outcome = task.EndChunk(pipeline_->batch(index), first_row, chunk.rows);
  prompt_tokens_ += outcome.prompt_tokens;
  generated_tokens_ += outcome.generated_tokens;
  if (outcome.finished) return End(task);
  if (!task.kept_rows().empty()) scheduler_.Remove(task.sequence);  // its pages are of no more use
}

void Engine::Fail(Task& task, const absl::Status& status) {
  if (!task.ended) {
    LogWarning() << "request " << (task.name.empty() ? absl::StrCat(task.sequence.id) : task.name)
                 << " failed: " << status.message();
    task.Fail(status);
  }
  End(task);
}

// Forgets a task and frees its pages, unless a micro-batch in flight still writes them.
void Engine::End(Task& task) {
  task.ended = true;
  if (task.sequence.in_flight) return;
  scheduler_.Remove(task.sequence);
  tasks_.erase(task.sequence.id);
  std::lock_guard lock(mutex_);
  --requests_;
  idle_.notify_all();
}

// Takes a chunk out of flight without using it.
void Engine::Leave(const PlannedChunk& chunk) {
  scheduler_.Discard(chunk);
  Task& task = TaskOf(chunk);
  task.Discard();
  if (task.ended) End(task);
}

void Engine::PublishStatus() {
  EngineStatus status;
  {
    std::lock_guard lock(mutex_);
    status_.running = scheduler_.running() + keeping();
    status_.waiting = scheduler_.waiting() + std::ssize(submitted_);
    status_.kv_pages_used = cache_.used_pages();
    status_.prompt_tokens = prompt_tokens_;
    status_.generated_tokens = generated_tokens_;
    status_.draft_tokens = draft_tokens_;
    status_.accepted_draft_tokens = accepted_draft_tokens_;
    status_.scheduler = scheduler_.counters();
    status = status_;
  }
  if (const auto line = status_line_.Next(options_.clock->Now(), status)) LogInfo() << *line;
}

TimePoint Engine::NextWakeup() const {
  TimePoint wakeup = options_.clock->Now() + kIdleWait;
  for (const auto& [id, task] : tasks_) {
    if (!task->ended) wakeup = std::min(wakeup, task->deadline);
  }
  return std::max(wakeup, next_expiry_);
}

}  // namespace switchyard::router
