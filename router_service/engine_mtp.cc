// The passes of the block for multi-token prediction in the engine. A micro-batch that is through
// the model goes through the block with all rows whose next token is known by then, which fills the
// block's own cache; its row behind the last token guesses the next but one. Guessing further, the
// block goes on from its own output, one row a sequence; those rows' keys and values are
// overwritten when the real ones come. The next step of a sequence computes its guesses as rows of
// their own, and each is kept iff the model chooses the same token.
//
// A shared page's last position holds what the block saw with the token behind the page, which
// another sequence need not have. That can cost a guess and never changes a token.

#include <algorithm>
#include <utility>

#include "router_service/engine.h"

namespace switchyard::router {
namespace {

// Chosen tokens wait for the guesses behind them.
constexpr Duration kGuessTimeout = std::chrono::seconds(1);

}  // namespace

// False when there is nothing more to guess.
bool Engine::PlanMtpPass(uint32_t index) {
  Flight& flight = flights_[index];
  if (flight.mtp_passes == 0) {
    // What was guessed is decided, also when nothing is guessed now.
    for (const Part& part : flight.parts) part.task->sequence.drafts.clear();
  }
  if (flight.mtp_passes == options_.draft_tokens) return false;
  if (!WantsMtpResult(index)) {
    if (options_.clock->Now() < no_guesses_until_) return false;
    pipeline_->batch(index).set_expert_timeout(std::min(kGuessTimeout, options_.expert_timeout));
  }
  flight.next_parts.clear();
  flight.chunks.clear();
  flight.source_rows.clear();
  for (const Part& part : flight.parts) {
    if (part.task->ended) continue;
    flight.mtp_passes == 0 ? PlanMtpRows(flight, part) : PlanMtpGuess(flight, part);
  }
  if (flight.chunks.empty()) return false;
  std::swap(flight.parts, flight.next_parts);
  ++flight.mtp_passes;
  return true;
}

// The first pass: the rows that were computed and are not those of wrong drafts, as far as the
// token behind them is known.
void Engine::PlanMtpRows(Flight& flight, const Part& part) {
  const Sequence& sequence = part.task->sequence;
  if (part.task->mtp_use() == MtpUse::kNone) return;
  const std::span<const int32_t> chosen = part.task->chosen();
  const int64_t known = std::ssize(sequence.tokens) + std::ssize(chosen);
  const int64_t rows = std::min(part.rows, known - 1 - part.first_position);
  if (rows == 0) return;
  flight.chunks.push_back({.tokens = sequence.tokens.data() + part.first_position + 1,
                           .first_position = part.first_position,
                           .rows = rows,
                           .pages = sequence.pages.data(),
                           .ahead = chosen,
                           .rope = sequence.rope.table.get()});
  flight.next_parts.push_back({.task = part.task,
                               .first_position = part.first_position,
                               .first_row = std::ssize(flight.source_rows),
                               .rows = rows});
  for (int64_t row = part.first_row; row < part.first_row + rows; ++row) {
    flight.source_rows.push_back(static_cast<int32_t>(row));
  }
}

// A further pass: the row behind the last guess, if there is one and its page is there.
void Engine::PlanMtpGuess(Flight& flight, const Part& part) {
  Sequence& sequence = part.task->sequence;
  const int64_t position = part.first_position + part.rows;
  if (std::ssize(sequence.drafts) != flight.mtp_passes || !part.task->WantsMtpLogits(position) ||
      PagesFor(position + 1) > std::ssize(sequence.pages)) {
    return;
  }
  flight.chunks.push_back({.tokens = &sequence.drafts.back(),
                           .first_position = position,
                           .rows = 1,
                           .pages = sequence.pages.data(),
                           .rope = sequence.rope.table.get()});
  flight.next_parts.push_back({.task = part.task,
                               .first_position = position,
                               .first_row = std::ssize(flight.source_rows),
                               .rows = 1});
  flight.source_rows.push_back(static_cast<int32_t>(part.first_row + part.rows - 1));
}

// Whether somebody in this pass asked for what the block computes, and not for guesses only.
bool Engine::WantsMtpResult(uint32_t index) {
  const std::vector<Part>& parts = flights_[index].parts;
  return std::any_of(parts.begin(), parts.end(), [](const Part& part) {
    return !part.task->ended && part.task->mtp_use() == MtpUse::kResult;
  });
}

// The block's experts are lost. Who only guesses has its tokens from the model and goes on; what
// the block's cache lacks now costs guesses, never a token.
void Engine::FailMtpPass(uint32_t index, const absl::Status& status) {
  if (WantsMtpResult(index)) return FailBatch(index, status);
  no_guesses_until_ = options_.clock->Now() + options_.expert_timeout;
  FinishBatch(index);
}

void Engine::TakeMtpRows(uint32_t index) {
  for (const Part& part : flights_[index].parts) {
    if (part.task->ended) continue;
    part.task->TakeMtpRows(pipeline_->batch(index), part.first_position, part.first_row, part.rows);
  }
}

}  // namespace switchyard::router
