#pragma once

// All stages of a model in one process: takes micro-batches through them one after the other. The
// residual stream passes from stage to stage in fp32, so the number of stages changes no bit. A
// micro-batch of an encoder goes through the encoder instead, and ends with what the cross
// attention of every stage sees stored in its pages.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "router_service/expert_dispatcher.h"
#include "router_service/micro_batch.h"
#include "router_service/mtp_input.h"
#include "router_service/sequence_rope.h"
#include "router_service/stage_executor.h"
#include "services/model/checkpoint.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

enum class BatchProgress {
  kWaiting,  // its experts are still away
  kMoved,    // went on and sent the next layer
  kDone,     // through all stages, or through the block for multi-token prediction
};

struct PipelineOptions {
  kernels::NumericsClass numerics = kernels::NumericsClass::kFp32;
  int64_t stages = 1;    // layers are cut into this many even ranges
  int64_t kv_pages = 0;  // in every stage
  int64_t max_rows =
      256;           // of a micro-batch, but for rows that cannot be cut (model::MicroBatchRows)
  bool mtp = false;  // loads the block for multi-token prediction, too
};

// Used by one thread, which is also the dispatcher's. Device and dispatcher must outlive it.
class Pipeline {
 public:
  static absl::StatusOr<std::unique_ptr<Pipeline>> Load(const model::Checkpoint& checkpoint,
                                                        const PipelineOptions& options,
                                                        kernels::Device& device,
                                                        ExpertDispatcher& dispatcher,
                                                        const model::LoadProgress& progress);

  MicroBatch& batch(uint32_t index) { return *batches_[index]; }

  // Starts batch `index`, which Assign has filled. Never kWaiting.
  BatchProgress Start(uint32_t index);

  // Starts a pass of the block for multi-token prediction over a batch that is through. Row i of
  // `chunks` goes on from row rows[i] of the batch (ascending): from the model's state, or from the
  // block's own where its last pass was one. Tokens of a row at position t: token t + 1. Never
  // kWaiting.
  BatchProgress StartMtp(uint32_t index, std::span<const SequenceChunk> chunks,
                         std::span<const int32_t> rows);

  // Takes the batch on if the experts it waits for are back. An error when a layer's experts are
  // lost; the batch is then over.
  absl::StatusOr<BatchProgress> Advance(uint32_t index);

  // Ends a batch that is not through. What its experts send later is dropped.
  void Abandon(uint32_t index) { dispatcher_.Abandon(index); }

  // Logits of rows of a batch that is through, [rows][vocabulary]; at most its max_rows rows. After
  // a pass of the block for multi-token prediction: the block's.
  void Logits(uint32_t index, std::span<const int32_t> rows, float* logits);

  // Logits of rows that left the model's layers in an earlier batch, [rows][hidden], at most
  // max_rows(). Batch `index` must be idle: its workspaces are used.
  void LogitsOf(std::span<const float> hidden, uint32_t index, float* logits);

  const model::ModelSpec& spec() const { return spec_; }
  const SequenceRopes& ropes() const { return ropes_; }
  int64_t max_rows() const { return batches_[0]->max_rows(); }
  int64_t stages() const { return static_cast<int64_t>(model_stages_); }
  StageExecutor& stage(int64_t index) { return *stages_[index]; }

 private:
  Pipeline(const model::ModelSpec& spec, SequenceRopes ropes, kernels::Device& device,
           ExpertDispatcher& dispatcher);
  // The device has computed all that was called for the batch: the host may touch it.
  BatchProgress Done();
  BatchProgress EnterFrom(uint32_t index, size_t stage);
  BatchProgress AfterEncoder(uint32_t index, StageProgress progress);

  const model::ModelSpec spec_;
  const SequenceRopes ropes_;
  kernels::Device& device_;
  ExpertDispatcher& dispatcher_;
  size_t model_stages_ = 0;
  std::vector<std::unique_ptr<StageExecutor>> stages_;  // the model's, then the MTP block if loaded
  std::unique_ptr<MtpInput> mtp_input_;                 // likewise
  std::unique_ptr<StageExecutor> encoder_;              // where the model has one
  std::array<std::unique_ptr<MicroBatch>, ExpertDispatcher::kMicroBatches> batches_;
  std::array<size_t, ExpertDispatcher::kMicroBatches> at_stage_{};
};

}  // namespace switchyard::router
