#include "router_service/generation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::router {
namespace {

absl::Status NotNumbers(int64_t position) {
  return absl::InternalError(
      absl::StrCat("the model's logits at position ", position, " are not numbers"));
}

}  // namespace

Generation::Generation(GenerateParameters parameters, std::span<const int64_t> model_end_tokens,
                       std::shared_ptr<GenerationSink> sink)
    : parameters_(std::move(parameters)),
      sink_(std::move(sink)),
      edits_(parameters_.logit_edits, parameters_.prompt, parameters_.generated,
             parameters_.max_tokens - std::ssize(parameters_.generated)) {
  sequence.tokens.reserve(prompt_tokens() + parameters_.max_tokens);
  sequence.tokens = parameters_.prompt;
  sequence.tokens.insert(sequence.tokens.end(), parameters_.generated.begin(),
                         parameters_.generated.end());
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
  if (position == std::ssize(sequence.tokens) - 1) return generated() < parameters_.max_tokens;
  // Again after a preemption, but not what is known already.
  return parameters_.prompt_logprobs >= 0 && position < prompt_tokens() - 1 &&
         position >= std::ssize(prompt_logprobs_);
}

absl::Status Generation::TakeLogits(int64_t position, std::span<const float> logits,
                                    Sampler& sampler) {
  if (position < prompt_tokens() - 1) {
    prompt_logprobs_.push_back(
        LogprobsOf(logits, parameters_.prompt[position + 1], parameters_.prompt_logprobs));
    return std::isnan(prompt_logprobs_.back().logprob) ? NotNumbers(position) : absl::OkStatus();
  }
  RETURN_IF_ERROR(Choose(position, logits, sampler));
  if (parameters_.logprobs >= 0) {
    chosen_logprobs_ = LogprobsOf(logits, chosen_, parameters_.logprobs);
  }
  return absl::OkStatus();
}

absl::Status Generation::Choose(int64_t position, std::span<const float> logits, Sampler& sampler) {
  const std::span<const int32_t> output = std::span(sequence.tokens).subspan(prompt_tokens());
  const std::span<const int32_t> banned =
      generated() < parameters_.min_tokens ? end_tokens_ : std::span<const int32_t>();
  const std::span<const float> edited = sampler.Edit(logits, edits_, output, banned);
  chosen_ = sampler.Choose(edited, parameters_.sampling, position + 1);
  if (chosen_ >= 0) return absl::OkStatus();
  if (sampler.Choose(logits, parameters_.sampling, position + 1) < 0) return NotNumbers(position);
  return absl::InvalidArgumentError(
      "sampling.allowed_token_ids: with bad_words and min_tokens no token is left to choose");
}

ChunkOutcome Generation::EndChunk(MicroBatch&, int64_t, int64_t) {
  if (sequence.pending() > 0) return {};
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
  if (chosen_ >= 0) {
    outcome.generated_tokens = 1;
    const int32_t token = std::exchange(chosen_, -1);
    sequence.tokens.push_back(token);
    edits_.Observe(token);
    update.tokens.push_back(token);
    if (parameters_.logprobs >= 0) update.logprobs.push_back(std::move(chosen_logprobs_));
    if (IsEndToken(token)) {
      update.finish = FinishReason::kStop;
      update.stop_token = token;
    }
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
