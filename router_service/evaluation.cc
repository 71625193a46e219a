#include "router_service/evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/sampling/sampling.h"
#include "services/base/status_macros.h"

namespace switchyard::router {

Evaluation::Evaluation(EvaluateParameters parameters, const model::ModelSpec& spec,
                       std::shared_ptr<EvaluationSink> sink)
    : parameters_(std::move(parameters)), spec_(spec), sink_(std::move(sink)) {
  sequence.tokens = parameters_.tokens;
  sequence.source = parameters_.source;
  sequence.share_prefix = false;  // every row is wanted
  deadline = parameters_.deadline;
}

bool Evaluation::WantsLogits(int64_t position) const {
  if (position < delivered_) return false;  // computed again after a preemption
  if (KeepsRows()) return false;
  return parameters_.logits ||
         (parameters_.token_nll && position + 1 < std::ssize(parameters_.tokens));
}

absl::Status Evaluation::TakeLogits(int64_t position, std::span<const float> logits, int32_t) {
  if (parameters_.logits) {
    piece_.logits.insert(piece_.logits.end(), logits.begin(), logits.end());
  }
  if (parameters_.token_nll && position + 1 < std::ssize(parameters_.tokens)) {
    const float logprob = kernels::Logprobs(logits, parameters_.tokens[position + 1], 0).logprob;
    if (std::isnan(logprob)) {
      return absl::InternalError(
          absl::StrCat("the model's logits at position ", position, " are not numbers"));
    }
    piece_.token_nll.push_back(-double{logprob});
  }
  return absl::OkStatus();
}

void Evaluation::AddRouting(MicroBatch& batch, int64_t first_row, int64_t rows,
                            EvaluationPiece& piece) const {
  const int64_t decoder_layers = std::ssize(spec_.layers);
  for (const int64_t layer : spec_.MoeLayers()) {
    if ((layer >= decoder_layers) != batch.encoder()) continue;
    piece.routing.push_back(RoutingOf(batch, layer, first_row, rows));
  }
}

void Evaluation::EndEncoder(MicroBatch& batch, int64_t first_row, int64_t rows) {
  // Computed again after a preemption.
  if (std::exchange(encoder_delivered_, true) || !parameters_.routing) return;
  AddRouting(batch, first_row, rows, piece_);
  piece_.encoder = true;
  piece_.positions = rows;
  sink_->Piece(std::exchange(piece_, {}));
}

ChunkOutcome Evaluation::EndChunk(MicroBatch& batch, int64_t first_row, int64_t rows) {
  const int64_t skipped = std::max<int64_t>(0, delivered_ - (sequence.computed - rows));
  first_row += skipped;
  rows -= skipped;
  const bool last = sequence.pending() == 0;
  if (KeepsRows()) {
    Keep(batch, first_row, rows);
    return {.prompt_tokens = rows};
  }
  if (rows > 0) {
    piece_.first_position = delivered_;
    piece_.positions = rows;
    piece_.last = last;
    if (parameters_.routing) AddRouting(batch, first_row, rows, piece_);
    delivered_ += rows;
    sink_->Piece(std::exchange(piece_, {}));
  }
  return {.finished = last, .prompt_tokens = last ? std::ssize(sequence.tokens) : 0};
}

// Of all positions. A model with capacity has no block for multi-token prediction, whose passes
// would have changed the rows.
void Evaluation::Keep(MicroBatch& batch, int64_t first_row, int64_t rows) {
  for (int64_t first = 0; first < rows; first += kLogitsRows) {
    const int64_t count = std::min(kLogitsRows, rows - first);
    KeptRows& kept = kept_.emplace_back();
    kept.piece.first_position = first;
    kept.piece.positions = count;
    kept.piece.last = first + count == rows;
    if (parameters_.routing) AddRouting(batch, first_row + first, count, kept.piece);
    const float* const hidden = batch.hidden() + (first_row + first) * spec_.hidden;
    kept.hidden.assign(hidden, hidden + count * spec_.hidden);
  }
}

std::span<const float> Evaluation::kept_rows() const {
  return kept_.empty() ? std::span<const float>() : kept_.front().hidden;
}

absl::StatusOr<bool> Evaluation::TakeKeptLogits(std::span<const float> logits) {
  piece_ = std::move(kept_.front().piece);
  kept_.pop_front();
  for (int64_t i = 0; i < piece_.positions; ++i) {
    RETURN_IF_ERROR(TakeLogits(piece_.first_position + i,
                               logits.subspan(i * spec_.vocabulary, spec_.vocabulary), -1));
  }
  sink_->Piece(std::exchange(piece_, {}));
  return kept_.empty();
}

LayerRouting Evaluation::RoutingOf(MicroBatch& batch, int64_t layer, int64_t first_row,
                                   int64_t rows) const {
  const int64_t k = spec_.Block(layer).ffn.router->top_k;
  const int32_t* const ids = batch.chosen_ids(layer) + first_row * k;
  const float* const weights = batch.expert_weights(layer) + first_row * k;
  return {.layer = layer, .ids = {ids, ids + rows * k}, .weights = {weights, weights + rows * k}};
}

bool Evaluation::WantsMtpLogits(int64_t position) const { return position >= delivered_; }

void Evaluation::TakeMtpLogits(int64_t, std::span<const float> logits, int32_t) {
  piece_.mtp_logits.insert(piece_.mtp_logits.end(), logits.begin(), logits.end());
}

void Evaluation::TakeMtpRows(MicroBatch& batch, int64_t first_position, int64_t first_row,
                             int64_t rows) {
  const int64_t skipped = std::max<int64_t>(0, delivered_ - first_position);
  if (skipped >= rows) return;
  first_row += skipped;
  piece_.mtp_positions = rows - skipped;
  const float* const hidden = batch.hidden() + first_row * spec_.hidden;
  piece_.mtp_hidden.assign(hidden, hidden + piece_.mtp_positions * spec_.hidden);
  if (!parameters_.routing || !spec_.mtp->ffn.router) return;
  const auto layer = static_cast<int64_t>(spec_.layers.size());
  piece_.mtp_routing = {RoutingOf(batch, layer, first_row, piece_.mtp_positions)};
}

}  // namespace switchyard::router
