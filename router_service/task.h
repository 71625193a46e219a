#pragma once

// A sequence with a purpose: what the engine asks of it and tells it while its rows are computed.
// One call at a time; EditLogits and TakeLogits may come from another compute thread of the engine.

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/sampling/sampling.h"
#include "router_service/micro_batch.h"
#include "router_service/sequence.h"
#include "services/base/clock.h"
#include "services/model/batch_rows.h"

namespace switchyard::router {

struct ChunkOutcome {
  bool finished = false;         // nothing is left to do; the sink has been told
  int64_t prompt_tokens = 0;     // of a prompt that is now through
  int64_t generated_tokens = 0;  // chosen now
};

using model::kLogitsRows;

enum class MtpUse {
  kNone,
  kGuess,   // of the tokens to come: what fails there ends the guessing only
  kResult,  // is asked for
};

class Task {
 public:
  virtual ~Task() = default;

  // True when there is nothing to compute; the sink has then been told all.
  virtual bool FinishAtOnce() { return false; }

  virtual bool HasRoom() const { return true; }  // for more results

  virtual bool WantsLogits(int64_t position) const = 0;

  // How the token after `position` is chosen from its logits; null: no token is. A row behind
  // drafts is asked as if all of these were right.
  virtual const kernels::SamplingParameters* SamplingAt(int64_t) const { return nullptr; }

  // Whether that is from other logits than the model's, and then from which: `edited` gets them.
  virtual bool EditsLogits(int64_t) const { return false; }
  virtual void EditLogits(int64_t /*position*/, std::span<const float> /*logits*/,
                          std::span<float> /*edited*/) {}

  // In ascending order of position. `token`: what was chosen where one is, -1 where none could be.
  // An error ends the task.
  virtual absl::Status TakeLogits(int64_t position, std::span<const float> logits,
                                  int32_t token) = 0;

  // The encoder is through the sequence's source: rows [first_row, first_row + rows) of the batch.
  virtual void EndEncoder(MicroBatch& batch, int64_t first_row, int64_t rows) = 0;

  // Tokens chosen from the logits that were taken and not yet in the sequence, which gets them
  // before EndChunk.
  virtual std::span<const int32_t> chosen() const { return {}; }

  // What the passes of the block for multi-token prediction are to it: the first is over all rows
  // whose next token is known, each further one over the row behind the last guess.
  virtual MtpUse mtp_use() const { return MtpUse::kNone; }

  // The block's logits at a position, which are about the second token after it.
  virtual bool WantsMtpLogits(int64_t) const { return false; }
  // `token`: the most likely of a task that guesses, -1 where there is none.
  virtual void TakeMtpLogits(int64_t, std::span<const float>, int32_t /*token*/) {}

  // The first pass: rows [first_row, first_row + rows) of the batch are computed.
  virtual void TakeMtpRows(MicroBatch&, int64_t /*first_position*/, int64_t /*first_row*/,
                           int64_t /*rows*/) {}

  // Nothing of the chunk in progress is used.
  virtual void Discard() {}

  // Rows [first_row, first_row + rows) of the batch are computed, and their logits taken.
  virtual ChunkOutcome EndChunk(MicroBatch& batch, int64_t first_row, int64_t rows) = 0;

  // Rows of MicroBatch::hidden(), [at most kLogitsRows][hidden], that it keeps after its last chunk
  // until it has room for what comes of their logits. Empty: none.
  virtual std::span<const float> kept_rows() const { return {}; }

  // The logits of kept_rows(), which then become the next ones. Whether nothing is left to do.
  virtual absl::StatusOr<bool> TakeKeptLogits(std::span<const float>) { return true; }

  virtual void Fail(const absl::Status& status) = 0;

  Sequence sequence;
  std::string name;  // what the client calls it, for the log; may be empty
  TimePoint deadline = TimePoint::max();

  // The engine's.
  bool ended = false;                      // no more is to be done, but it is still in flight
  std::optional<TimePoint> stalled_since;  // start of the first try that lost its experts
};

}  // namespace switchyard::router
