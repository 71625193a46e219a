#include "router_service/request.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/model/generation_config.h"

namespace switchyard::router {
namespace {

constexpr int32_t kMaxLogprobs = 128;
constexpr size_t kMaxStopTokens = 1024;
constexpr int64_t kMaxBadWordTokens = 65536;

template <typename... Parts>
absl::Status Invalid(const std::string& field, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", parts...));
}

absl::Status CheckTokens(const std::string& field, std::span<const int32_t> tokens,
                         const RequestLimits& limits) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= limits.vocabulary) {
      return Invalid(field, "token id ", tokens[i], " at index ", i,
                     " is outside the vocabulary of ", limits.vocabulary);
    }
  }
  return absl::OkStatus();
}

// Of rows that the model must see together.
absl::Status CheckWhole(const std::string& field, int64_t rows, const RequestLimits& limits) {
  if (rows <= limits.max_whole) return absl::OkStatus();
  return Invalid(field, "has ", rows,
                 " tokens, which this model must compute in one piece; the "
                 "router worker has room for ",
                 limits.max_whole, ", or more with a larger --prefill-chunk");
}

absl::Status CheckLogprobs(const std::string& field, int32_t value) {
  if (value >= -1 && value <= kMaxLogprobs) return absl::OkStatus();
  return Invalid(field, value, " is not between -1 (none) and ", kMaxLogprobs);
}

absl::Status CheckSampling(const kernels::SamplingParameters& sampling) {
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature)) {
    return Invalid("sampling.temperature", sampling.temperature, " is not a number from 0 up");
  }
  if (!(sampling.top_p >= 0 && sampling.top_p <= 1)) {
    return Invalid("sampling.top_p", sampling.top_p, " is not between 0 and 1");
  }
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    return Invalid("sampling.min_p", sampling.min_p, " is not between 0 and 1");
  }
  if (sampling.top_k < 0) return Invalid("sampling.top_k", sampling.top_k, " is negative");
  return absl::OkStatus();
}

absl::Status CheckEdits(const kernels::LogitEditParameters& edits, const RequestLimits& limits) {
  if (!(edits.repetition_penalty >= model::kLeastRepetitionPenalty) ||
      std::isinf(edits.repetition_penalty)) {
    return Invalid("sampling.repetition_penalty", edits.repetition_penalty,
                   " is not a number from ", model::kLeastRepetitionPenalty, " up");
  }
  // Every token costs as much.
  int64_t listed = std::ssize(edits.allowed);
  for (const std::vector<int32_t>& word : edits.bad_words) listed += std::ssize(word);
  if (listed > limits.vocabulary + kMaxBadWordTokens) {
    return Invalid("sampling.allowed_token_ids", "with bad_words it has ", listed,
                   " tokens, more than there are");
  }
  if (!std::isfinite(edits.presence_penalty)) {
    return Invalid("sampling.presence_penalty", edits.presence_penalty, " is not a number");
  }
  if (!std::isfinite(edits.frequency_penalty)) {
    return Invalid("sampling.frequency_penalty", edits.frequency_penalty, " is not a number");
  }
  std::vector<int32_t> biased;
  for (const kernels::LogitBias& bias : edits.bias) {
    if (!std::isfinite(bias.bias)) {
      return Invalid("sampling.logit_bias", bias.bias, " is not a number");
    }
    biased.push_back(bias.token);
  }
  RETURN_IF_ERROR(CheckTokens("sampling.logit_bias", biased, limits));
  std::sort(biased.begin(), biased.end());
  if (std::adjacent_find(biased.begin(), biased.end()) != biased.end()) {
    return Invalid("sampling.logit_bias", "a token stands twice");
  }
  RETURN_IF_ERROR(CheckTokens("sampling.allowed_token_ids", edits.allowed, limits));
  for (const std::vector<int32_t>& word : edits.bad_words) {
    if (word.empty()) return Invalid("sampling.bad_words", "a sequence is empty");
    RETURN_IF_ERROR(CheckTokens("sampling.bad_words", word, limits));
  }
  return absl::OkStatus();
}

absl::Status CheckLengths(const GenerateParameters& parameters, const RequestLimits& limits) {
  const int64_t prompt = std::ssize(parameters.prompt);
  if (prompt == 0) return Invalid("prompt_ids", "is empty");
  if (prompt > limits.max_positions) {
    return Invalid("prompt_ids", "has ", prompt, " tokens, above the context limit of ",
                   limits.max_positions);
  }
  if (parameters.max_tokens < 0 || parameters.max_tokens > limits.max_positions - prompt) {
    return Invalid("max_tokens", parameters.max_tokens, " tokens after a prompt of ", prompt,
                   " exceed the context limit of ", limits.max_positions);
  }
  if (std::ssize(parameters.generated) > parameters.max_tokens) {
    return Invalid("generated_ids", "has ", parameters.generated.size(),
                   " tokens, but max_tokens is ", parameters.max_tokens);
  }
  if (parameters.min_tokens < 0 || parameters.min_tokens > parameters.max_tokens) {
    return Invalid("min_tokens", parameters.min_tokens, " is not between 0 and max_tokens, ",
                   parameters.max_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const GenerateParameters& parameters, const RequestLimits& limits) {
  // Lengths first: nothing else is looked at token by token before they are known to be bounded.
  RETURN_IF_ERROR(CheckLengths(parameters, limits));
  if (limits.whole.prompts || limits.whole.sources) {
    RETURN_IF_ERROR(CheckWhole("prompt_ids", std::ssize(parameters.prompt), limits));
  }
  if (limits.whole.sources && parameters.prompt_logprobs >= 0) {
    return Invalid("prompt_logprobs", "the model has an encoder, which does not predict its input");
  }
  RETURN_IF_ERROR(CheckTokens("prompt_ids", parameters.prompt, limits));
  RETURN_IF_ERROR(CheckTokens("generated_ids", parameters.generated, limits));
  RETURN_IF_ERROR(CheckSampling(parameters.sampling));
  RETURN_IF_ERROR(CheckEdits(parameters.logit_edits, limits));
  if (parameters.stop_tokens.size() > kMaxStopTokens) {
    return Invalid("stop_token_ids", "has ", parameters.stop_tokens.size(), " tokens, above ",
                   kMaxStopTokens);
  }
  RETURN_IF_ERROR(CheckTokens("stop_token_ids", parameters.stop_tokens, limits));
  RETURN_IF_ERROR(CheckLogprobs("logprobs", parameters.logprobs));
  return CheckLogprobs("prompt_logprobs", parameters.prompt_logprobs);
}

absl::Status Validate(const EvaluateParameters& parameters, const RequestLimits& limits) {
  const int64_t tokens = std::ssize(parameters.tokens);
  if (tokens == 0) return Invalid("rows.ids", "is empty");
  const int64_t source = std::ssize(parameters.source);
  if (limits.whole.sources != (source > 0)) {
    return Invalid("rows.source_ids", limits.whole.sources
                                          ? "is empty, but the model has an encoder"
                                          : "is given, but the model has no encoder");
  }
  if (tokens + source > limits.max_positions) {
    return Invalid("rows.ids", "has ", tokens + source, " tokens, above the context limit of ",
                   limits.max_positions);
  }
  if (limits.whole.evaluations) RETURN_IF_ERROR(CheckWhole("rows.ids", tokens, limits));
  if (limits.whole.sources) RETURN_IF_ERROR(CheckWhole("rows.source_ids", source, limits));
  RETURN_IF_ERROR(CheckTokens("rows.source_ids", parameters.source, limits));
  if (parameters.mtp && !limits.mtp) {
    return Invalid("mtp", "this router worker runs without multi-token prediction");
  }
  return CheckTokens("rows.ids", parameters.tokens, limits);
}

}  // namespace switchyard::router
