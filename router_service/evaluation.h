#pragma once

// The task behind one row of an evaluate request: hands out what the model computes at every
// position, chunk by chunk. A full pass of a model with capacity is one chunk of all rows, whose
// logits would take far more memory than the rows themselves: it keeps the rows, and hands their
// logits out block by block as the client has room.

#include <deque>
#include <memory>
#include <vector>

#include "kernels/base/memory.h"
#include "router_service/request.h"
#include "router_service/task.h"
#include "services/model/model_spec.h"

namespace switchyard::router {

class Evaluation : public Task {
 public:
  // `spec` must outlive it.
  Evaluation(EvaluateParameters parameters, const model::ModelSpec& spec,
             std::shared_ptr<EvaluationSink> sink);

  bool HasRoom() const override { return sink_->HasRoom(); }
  bool WantsLogits(int64_t position) const override;
  absl::Status TakeLogits(int64_t position, std::span<const float> logits, int32_t) override;
  void EndEncoder(MicroBatch& batch, int64_t first_row, int64_t rows) override;
  MtpUse mtp_use() const override { return parameters_.mtp ? MtpUse::kResult : MtpUse::kNone; }
  bool WantsMtpLogits(int64_t position) const override;
  void TakeMtpLogits(int64_t position, std::span<const float> logits, int32_t) override;
  void TakeMtpRows(MicroBatch& batch, int64_t first_position, int64_t first_row,
                   int64_t rows) override;
  void Discard() override { piece_ = {}; }
  ChunkOutcome EndChunk(MicroBatch& batch, int64_t first_row, int64_t rows) override;
  std::span<const float> kept_rows() const override;
  absl::StatusOr<bool> TakeKeptLogits(std::span<const float> logits) override;
  void Fail(const absl::Status& status) override { sink_->Fail(status); }

 private:
  // Consecutive positions without their logits yet.
  struct KeptRows {
    EvaluationPiece piece;
    kernels::Floats hidden;  // [positions][hidden], where the device reaches them
  };

  bool KeepsRows() const {
    return sequence.full_pass && (parameters_.logits || parameters_.token_nll);
  }
  void Keep(MicroBatch& batch, int64_t first_row, int64_t rows);
  LayerRouting RoutingOf(MicroBatch& batch, int64_t layer, int64_t first_row, int64_t rows) const;
  void AddRouting(MicroBatch& batch, int64_t first_row, int64_t rows, EvaluationPiece& piece) const;

  const EvaluateParameters parameters_;
  const model::ModelSpec& spec_;
  const std::shared_ptr<EvaluationSink> sink_;
  EvaluationPiece piece_;  // of the chunk being computed
  int64_t delivered_ = 0;  // positions
  std::deque<KeptRows> kept_;
  bool encoder_delivered_ = false;
};

}  // namespace switchyard::router
