#include "router_service/pipeline.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/whole_rows.h"
#include "services/runtime/device_work.h"

namespace switchyard::router {

Pipeline::Pipeline(const model::ModelSpec& spec, SequenceRopes ropes, kernels::Device& device,
                   ExpertDispatcher& dispatcher)
    : spec_(spec), ropes_(std::move(ropes)), device_(device), dispatcher_(dispatcher) {}

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Load(const model::Checkpoint& checkpoint,
                                                         const PipelineOptions& options,
                                                         kernels::Device& device,
                                                         ExpertDispatcher& dispatcher,
                                                         const model::LoadProgress& progress) {
  const model::ModelSpec& spec = checkpoint.spec();
  const int64_t layers = static_cast<int64_t>(spec.layers.size());
  if (options.stages < 1 || options.stages > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("stages: ", options.stages, ", but the model has ", layers, " layers"));
  }
  ASSIGN_OR_RETURN(SequenceRopes ropes, SequenceRopes::Create(spec.rope));
  std::unique_ptr<Pipeline> pipeline(new Pipeline(spec, std::move(ropes), device, dispatcher));
  const auto executor = [&](model::StageWeights weights) {
    return std::make_unique<StageExecutor>(std::move(weights), pipeline->spec_,
                                           pipeline->ropes_.Default(), options.numerics,
                                           options.kv_pages, device, dispatcher);
  };
  for (int64_t stage = 0; stage < options.stages; ++stage) {
    ASSIGN_OR_RETURN(model::StageWeights weights,
                     model::LoadStage(checkpoint, stage * layers / options.stages,
                                      (stage + 1) * layers / options.stages, options.numerics,
                                      device.pool(), progress));
    pipeline->stages_.push_back(executor(std::move(weights)));
  }
  pipeline->model_stages_ = pipeline->stages_.size();
  if (options.mtp) {
    ASSIGN_OR_RETURN(model::MtpWeights weights,
                     model::LoadMtp(checkpoint, options.numerics, device.pool(), progress));
    pipeline->mtp_input_ = std::make_unique<MtpInput>(weights, pipeline->spec_, options.numerics,
                                                      options.max_rows, device);
    pipeline->stages_.push_back(executor(std::move(weights.stage)));
  }
  if (!spec.encoder_layers.empty()) {
    ASSIGN_OR_RETURN(model::EncoderWeights weights,
                     model::LoadEncoder(checkpoint, options.numerics, device.pool(), progress));
    pipeline->encoder_ = executor({.first_layer = layers,
                                   .layers = std::move(weights.layers),
                                   .embedding = std::move(weights.embedding),
                                   .embedding_type = weights.embedding_type,
                                   .final_norm = std::move(weights.final_norm),
                                   .final_norm_bias = std::move(weights.final_norm_bias)});
  }
  const int64_t max_rows = model::MicroBatchRows(spec, options.max_rows);
  for (uint32_t index = 0; index < ExpertDispatcher::kMicroBatches; ++index) {
    pipeline->batches_[index] =
        std::make_unique<MicroBatch>(pipeline->spec_, options.numerics, index, max_rows);
  }
  return pipeline;
}

BatchProgress Pipeline::Start(uint32_t index) {
  const bool encoder = batch(index).encoder();
  (encoder && spec_.stack_embeddings ? encoder_ : stages_.front())->Embed(batch(index));
  if (!encoder) return EnterFrom(index, 0);
  return AfterEncoder(index, encoder_->Enter(batch(index)));
}

BatchProgress Pipeline::AfterEncoder(uint32_t index, StageProgress progress) {
  if (progress == StageProgress::kExpertsAway) return BatchProgress::kMoved;
  encoder_->EndEncoder(batch(index));
  for (const auto& stage : stages_) stage->StoreSource(batch(index));
  return Done();
}

BatchProgress Pipeline::Done() {
  FinishOn(device_);
  return BatchProgress::kDone;
}

BatchProgress Pipeline::EnterFrom(uint32_t index, size_t stage) {
  for (; stage < model_stages_; ++stage) {
    at_stage_[index] = stage;
    if (stages_[stage]->Enter(batch(index)) == StageProgress::kExpertsAway) {
      return BatchProgress::kMoved;
    }
  }
  return Done();
}

absl::StatusOr<BatchProgress> Pipeline::Advance(uint32_t index) {
  absl::Status status;
  if (!dispatcher_.Finished(index, &status)) return BatchProgress::kWaiting;
  RETURN_IF_ERROR(status);
  if (batch(index).encoder()) return AfterEncoder(index, encoder_->Resume(batch(index)));
  const size_t stage = at_stage_[index];
  if (stages_[stage]->Resume(batch(index)) == StageProgress::kExpertsAway) {
    return BatchProgress::kMoved;
  }
  return EnterFrom(index, stage + 1);
}

BatchProgress Pipeline::StartMtp(uint32_t index, std::span<const SequenceChunk> chunks,
                                 std::span<const int32_t> rows) {
  batch(index).Continue(chunks, rows);
  stages_[at_stage_[index]]->FinalNorm(batch(index));
  mtp_input_->Run(batch(index));
  at_stage_[index] = model_stages_;
  const StageProgress progress = stages_[model_stages_]->Enter(batch(index));
  return progress == StageProgress::kExpertsAway ? BatchProgress::kMoved : Done();
}

void Pipeline::Logits(uint32_t index, std::span<const int32_t> rows, float* logits) {
  stages_[at_stage_[index]]->Logits(batch(index), rows, logits);
}

void Pipeline::LogitsOf(std::span<const float> hidden, uint32_t index, float* logits) {
  stages_[model_stages_ - 1]->LogitsOf(hidden, batch(index), logits);
}

}  // namespace switchyard::router
