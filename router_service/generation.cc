#include "router_service/generation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::router {
namespace {

absl::Status NotNumbers(int64_t position) {
  return absl::InternalError(
      absl::StrCat("the model's logits at position ", position, " are not numbers"));
}

}  // namespace

Generation::Generation(GenerateParameters parameters, std::span<const int64_t> model_end_tokens,
                       int64_t max_drafts, std::shared_ptr<GenerationSink> sink)
    : parameters_(std::move(parameters)), sink_(std::move(sink)) {
  chosen_.reserve(1 + max_drafts);
  sequence.drafts.reserve(max_drafts);
  sequence.tokens.reserve(prompt_tokens() + parameters_.max_tokens);
  sequence.tokens = parameters_.prompt;
  sequence.tokens.insert(sequence.tokens.end(), parameters_.generated.begin(),
                         parameters_.generated.end());
  ObserveOutput();
  // Every row of the prompt is wanted, so none may come from the cache.
  sequence.share_prefix = parameters_.prompt_logprobs < 0;
  name = parameters_.request_id;
  deadline = parameters_.deadline;
  end_tokens_ = parameters_.stop_tokens;
  if (!parameters_.ignore_end_tokens) {
    end_tokens_.insert(end_tokens_.end(), model_end_tokens.begin(), model_end_tokens.end());
  }
}

bool Generation::FinishAtOnce() {
  if (parameters_.prompt_logprobs >= 0) return false;
  GenerationUpdate update;
  if (generated() > 0 && IsEndToken(sequence.tokens.back())) {
    update.finish = FinishReason::kStop;
    update.stop_token = sequence.tokens.back();
  } else if (generated() == parameters_.max_tokens) {
    update.finish = FinishReason::kLength;
  } else {
    return false;
  }
  sink_->Update(std::move(update));
  return true;
}

bool Generation::WantsLogits(int64_t position) const {
  if (position >= std::ssize(sequence.tokens) - 1) return generated() < parameters_.max_tokens;
  // Again after a preemption, but not what is known already.
  return parameters_.prompt_logprobs >= 0 && position < prompt_tokens() - 1 &&
         position >= std::ssize(prompt_logprobs_);
}

absl::Status Generation::TakeLogits(int64_t position, std::span<const float> logits,
                                    int32_t token) {
  if (position < prompt_tokens() - 1) {
    prompt_logprobs_.push_back(
        LogprobsOf(logits, parameters_.prompt[position + 1], parameters_.prompt_logprobs));
    return std::isnan(prompt_logprobs_.back().logprob) ? NotNumbers(position) : absl::OkStatus();
  }
  if (!DraftsHold(position)) return absl::OkStatus();
  // Behind drafts: the tokens before it are out first, then it is computed again and fails.
  if (token < 0) return chosen_.empty() ? NoToken(position, logits) : absl::OkStatus();
  chosen_.push_back(token);
  edits_->Observe(token);
  if (parameters_.logprobs >= 0) {
    chosen_logprobs_.push_back(LogprobsOf(logits, token, parameters_.logprobs));
  }
  return absl::OkStatus();
}

const kernels::SamplingParameters* Generation::SamplingAt(int64_t position) const {
  const bool chooses = position >= prompt_tokens() - 1 && DraftsMayHold(position);
  return chooses ? &parameters_.sampling : nullptr;
}

bool Generation::MayEnd(int64_t position) const {
  return position + 1 - prompt_tokens() >= parameters_.min_tokens;
}

bool Generation::EditsLogits(int64_t position) const {
  return !edits_->none() || (!MayEnd(position) && !end_tokens_.empty());
}

void Generation::EditLogits(int64_t position, std::span<const float> logits,
                            std::span<float> edited) {
  const std::span<const int32_t> ahead = DraftsBefore(position).subspan(chosen_.size());
  for (const int32_t draft : ahead) edits_->Observe(draft);
  edits_->Apply(logits, edited);
  for (size_t i = ahead.size(); i-- > 0;) edits_->Forget(ahead[i]);
  if (MayEnd(position)) return;
  for (const int32_t token : end_tokens_) edited[token] = -std::numeric_limits<float>::infinity();
}

// Why none could be chosen.
absl::Status Generation::NoToken(int64_t position, std::span<const float> logits) const {
  if (std::isnan(kernels::Logprobs(logits, 0, 0).logprob)) return NotNumbers(position);
  return absl::InvalidArgumentError(
      "sampling.allowed_token_ids: with bad_words and min_tokens no token is left to choose");
}

// The edits of a sequence that holds what `sequence` does.
void Generation::ObserveOutput() {
  edits_.emplace(parameters_.logit_edits, parameters_.prompt,
                 std::span(sequence.tokens).subspan(prompt_tokens()),
                 parameters_.max_tokens - generated());
}

// Those that the row at `position` has seen.
std::span<const int32_t> Generation::DraftsBefore(int64_t position) const {
  return std::span(sequence.drafts).first(position - (std::ssize(sequence.tokens) - 1));
}

// Whether the row at `position`, whose tokens after the sequence's are drafts, has seen what was
// really chosen, and is not behind the end.
bool Generation::DraftsHold(int64_t position) const {
  const std::span<const int32_t> drafts = DraftsBefore(position);
  return drafts.size() == chosen_.size() && DraftsMayHold(position);
}

// The same as far as it is known: the drafts that nothing was chosen for yet are taken to be right.
bool Generation::DraftsMayHold(int64_t position) const {
  const std::span<const int32_t> drafts = DraftsBefore(position);
  return drafts.size() >= chosen_.size() &&
         std::equal(chosen_.begin(), chosen_.end(), drafts.begin()) &&
         std::none_of(drafts.begin(), drafts.end(),
                      [this](int32_t draft) { return IsEndToken(draft); });
}

// Where the token after the last one known or guessed is still to come, and another behind it: the
// last token of an answer is not worth a guess.
bool Generation::WantsMtpLogits(int64_t position) const {
  if (chosen_.empty() || IsEndToken(chosen_.back())) return false;
  const int64_t ahead = std::ssize(chosen_) + std::ssize(sequence.drafts);
  return position + 2 == std::ssize(sequence.tokens) + ahead &&
         generated() + ahead + 1 < parameters_.max_tokens;
}

void Generation::TakeMtpLogits(int64_t, std::span<const float>, int32_t token) {
  if (token >= 0) sequence.drafts.push_back(token);
}

void Generation::Discard() {
  if (chosen_.empty()) return;
  chosen_.clear();
  chosen_logprobs_.clear();
  ObserveOutput();
}

ChunkOutcome Generation::EndChunk(MicroBatch&, int64_t, int64_t) {
  if (chosen_.empty() && sequence.pending() > 0) return {};
  GenerationUpdate update;
  ChunkOutcome outcome;
  if (!updated_) {
    updated_ = true;
    // To whom it is a prompt: the decoder's own is the start token alone.
    outcome.prompt_tokens = sequence.source.empty() ? prompt_tokens() : std::ssize(sequence.source);
    update.cached_tokens = std::min(sequence.cached_tokens, prompt_tokens());
    if (parameters_.prompt_logprobs >= 0) {
      update.prompt_logprobs.emplace_back();  // nothing predicts the first token
      std::move(prompt_logprobs_.begin(), prompt_logprobs_.end(),
                std::back_inserter(update.prompt_logprobs));
    }
  }
  if (!chosen_.empty()) {
    outcome.generated_tokens = std::ssize(chosen_);
    if (const int32_t last = chosen_.back(); IsEndToken(last)) {
      update.finish = FinishReason::kStop;
      update.stop_token = last;
    }
    update.tokens.assign(chosen_.begin(), chosen_.end());
    chosen_.clear();
    update.logprobs = std::exchange(chosen_logprobs_, {});
  }
  if (update.finish == FinishReason::kNone && generated() >= parameters_.max_tokens) {
    update.finish = FinishReason::kLength;
  }
  outcome.finished = update.finish != FinishReason::kNone;
  sink_->Update(std::move(update));
  return outcome;
}

bool Generation::IsEndToken(int32_t token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

TokenLogprobs Generation::LogprobsOf(std::span<const float> logits, int32_t token,
                                     int32_t top) const {
  kernels::LogprobResult result = kernels::Logprobs(logits, token, top);
  return {
      .token = token, .logprob = result.logprob, .rank = result.rank, .top = std::move(result.top)};
}

}  // namespace switchyard::router
