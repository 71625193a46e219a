#pragma once

// The serving loop of a router worker. One thread owns scheduler, KV cache, pipeline and
// dispatcher; everyone else only leaves work for it. What a request is answered does not depend on
// what else runs: batching, chunking, preemption, prefix sharing and retries change no bit.

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/device/device.h"
#include "router_service/engine_status.h"
#include "router_service/expert_dispatcher.h"
#include "router_service/kv_cache.h"
#include "router_service/pipeline.h"
#include "router_service/request.h"
#include "router_service/sampler.h"
#include "router_service/scheduler.h"
#include "router_service/task.h"
#include "services/base/clock.h"
#include "services/model/checkpoint.h"

namespace switchyard::router {

struct EngineOptions {
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
  int64_t stages = 1;           // layers are cut into this many ranges
  int64_t kv_pages = 4096;      // of 16 positions each
  int64_t max_requests = 1024;  // running and waiting; more are refused
  uint32_t micro_batches = ExpertDispatcher::kMicroBatches;  // in flight at a time
  // Most tokens that the block for multi-token prediction guesses ahead; 0: it is not loaded. The
  // answers are the same.
  int64_t draft_tokens = 0;
  SchedulerOptions scheduler;
  // How long the experts of one layer may stay away, and a request waits for lost ones in all.
  Duration expert_timeout = std::chrono::seconds(30);
  Duration status_interval = std::chrono::seconds(5);  // between status lines, while active
  uint64_t prefix_seed = 0;                            // secret; see ChainRoot
  const Clock* clock = &Clock::Real();
};

class Engine {
 public:
  // Loads the weights and starts the loop. Device and dispatcher must outlive the engine; only its
  // thread uses the dispatcher from then on.
  static absl::StatusOr<std::unique_ptr<Engine>> Start(const model::Checkpoint& checkpoint,
                                                       const EngineOptions& options,
                                                       kernels::Device& device,
                                                       ExpertDispatcher& dispatcher,
                                                       const model::LoadProgress& progress);

  // Fails what is left with UNAVAILABLE and ends the loop.
  ~Engine();

  // The rest is safe from any thread, sinks included, and returns at once.

  // Leaves a request for the loop and returns its id. INVALID_ARGUMENT (names the field),
  // RESOURCE_EXHAUSTED (too many requests), UNAVAILABLE (draining).
  absl::StatusOr<uint64_t> Generate(GenerateParameters parameters,
                                    std::shared_ptr<GenerationSink> sink);
  absl::StatusOr<uint64_t> Evaluate(EvaluateParameters parameters,
                                    std::shared_ptr<EvaluationSink> sink);

  // Ends a request and frees its pages, at the latest when its micro-batch is through. Its sink may
  // hear of it once more. Unknown ids are ignored.
  void Cancel(uint64_t id);

  // An evaluation sink has room again.
  void Wake() { dispatcher_.Wake(); }

  // Takes no new requests and waits for those it has. False when some are left after `timeout`.
  bool Drain(Duration timeout);

  EngineStatus Status() const;
  const RequestLimits& limits() const { return limits_; }

 private:
  // Rows of one task in the pass that a micro-batch is in.
  struct Part {
    Task* task = nullptr;
    int64_t first_position = 0;
    int64_t first_row = 0;
    int64_t rows = 0;
  };
  // A micro-batch passes the model, then the block for multi-token prediction up to draft_tokens
  // times. Until then nothing of it is used.
  struct Flight {
    bool busy = false;
    BatchPlan plan;
    TimePoint started{};
    int64_t mtp_passes = 0;  // that it has begun
    std::vector<Part> parts;
    // Of the pass that begins:
    std::vector<Part> next_parts;
    std::vector<SequenceChunk> chunks;
    std::vector<int32_t> source_rows;  // of the pass before
  };

  Engine(const EngineOptions& options, const BlockHash& chain_root, kernels::Device& device,
         ExpertDispatcher& dispatcher, std::unique_ptr<Pipeline> pipeline);

  absl::StatusOr<uint64_t> Submit(std::unique_ptr<Task> task);

  // The loop's own, on its thread.
  void Run();
  bool TakeCommands();
  void Add(std::unique_ptr<Task> task);
  void ExpireDeadlines();
  bool StartBatches();
  bool StartBatch(uint32_t index);
  bool AdvanceBatches();
  bool AdvanceBatch(uint32_t index);
  void AbandonBatch(uint32_t index);
  void FailBatch(uint32_t index, const absl::Status& status);
  void FinishPass(uint32_t index);
  void FinishBatch(uint32_t index);
  void FailParts(uint32_t index);
  void FinishChunk(uint32_t index, const PlannedChunk& chunk, int64_t first_row);
  void EndChunk(uint32_t index, const PlannedChunk& chunk, int64_t first_row);

  // Logits (engine_logits.cc).
  void TakeLogits(uint32_t index);
  void TakeLogitsBlock(uint32_t index);
  bool TakeKeptLogits(uint32_t index);

  // Multi-token prediction (engine_mtp.cc).
  bool PlanMtpPass(uint32_t index);
  void PlanMtpRows(Flight& flight, const Part& part);
  void PlanMtpGuess(Flight& flight, const Part& part);
  void TakeMtpRows(uint32_t index);
  bool WantsMtpResult(uint32_t index);
  void FailMtpPass(uint32_t index, const absl::Status& status);

  // Tasks that the scheduler is done with and that have kept rows.
  int64_t keeping() const {
    return static_cast<int64_t>(tasks_.size()) - scheduler_.running() - scheduler_.waiting();
  }
  Task& TaskOf(const PlannedChunk& chunk) { return *tasks_.at(chunk.sequence->id); }
  void Fail(Task& task, const absl::Status& status);
  void End(Task& task);
  void Leave(const PlannedChunk& chunk);
  void PublishStatus();
  TimePoint NextWakeup() const;

  const EngineOptions options_;
  kernels::Device& device_;
  ExpertDispatcher& dispatcher_;
  const std::unique_ptr<Pipeline> pipeline_;
  const RequestLimits limits_;

  KvCache cache_;
  Scheduler scheduler_;
  Sampler sampler_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Task>> tasks_;
  std::array<Flight, ExpertDispatcher::kMicroBatches> flights_;
  std::vector<WantedRow> wanted_;     // rows of a block that want logits
  std::vector<int32_t> wanted_rows_;  // their indices in the batch
  kernels::Buffer logits_;
  std::vector<int64_t> task_begins_;  // of each task's rows in the block
  std::vector<absl::Status> taken_;   // one a task of the block
  TimePoint next_expiry_{};
  TimePoint no_guesses_until_{};
  uint64_t prompt_tokens_ = 0;
  uint64_t generated_tokens_ = 0;
  uint64_t draft_tokens_ = 0;
  uint64_t accepted_draft_tokens_ = 0;
  StatusLine status_line_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  std::vector<std::unique_ptr<Task>> submitted_;
  std::vector<uint64_t> cancelled_;
  uint64_t last_id_ = 0;
  int64_t requests_ = 0;  // submitted and not ended
  bool draining_ = false;
  bool stop_ = false;
  EngineStatus status_;

  std::thread thread_;  // last: everything above is there before it starts
};

}  // namespace switchyard::router
