#include "kernels/sampling/logit_edits.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace switchyard::kernels {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

bool Penalizes(const LogitEditParameters& parameters) {
  return parameters.repetition_penalty != 1 || parameters.presence_penalty != 0 ||
         parameters.frequency_penalty != 0;
}

bool ChangesNothing(const LogitEditParameters& parameters) {
  return !Penalizes(parameters) && parameters.bias.empty() && parameters.allowed.empty() &&
         parameters.bad_words.empty();
}

// Whether the output ends with all tokens of the word but its last.
bool IsNext(std::span<const int32_t> output, std::span<const int32_t> word) {
  const std::span<const int32_t> before = word.first(word.size() - 1);
  return output.size() >= before.size() &&
         std::equal(before.begin(), before.end(), output.end() - before.size());
}

}  // namespace

LogitEdits::LogitEdits(LogitEditParameters parameters, std::span<const int32_t> prompt,
                       std::span<const int32_t> output, int64_t more)
    : parameters_(std::move(parameters)),
      penalizes_(Penalizes(parameters_)),
      none_(ChangesNothing(parameters_)) {
  if (!parameters_.bad_words.empty()) output_.reserve(output.size() + more);
  if (penalizes_) {
    std::vector<int32_t> tokens(prompt.begin(), prompt.end());
    std::sort(tokens.begin(), tokens.end());
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    seen_.reserve(tokens.size() + output.size() + more);
    for (const int32_t token : tokens) seen_.push_back({token, 0, true});
  }
  for (const int32_t token : output) Observe(token);
}

void LogitEdits::Observe(int32_t token) {
  if (!parameters_.bad_words.empty()) output_.push_back(token);
  if (penalizes_) Count(token);
}

void LogitEdits::Forget(int32_t token) {
  if (!parameters_.bad_words.empty()) output_.pop_back();
  if (penalizes_) Uncount(token);
}

// The token's, or where it would stand.
std::vector<LogitEdits::Seen>::iterator LogitEdits::PlaceOf(int32_t token) {
  return std::lower_bound(seen_.begin(), seen_.end(), token,
                          [](const Seen& seen, int32_t id) { return seen.token < id; });
}

void LogitEdits::Count(int32_t token) {
  const auto place = PlaceOf(token);
  if (place != seen_.end() && place->token == token) {
    ++place->outputs;
  } else {
    seen_.insert(place, {token, 1, false});
  }
}

void LogitEdits::Uncount(int32_t token) {
  const auto place = PlaceOf(token);
  if (--place->outputs == 0 && !place->in_prompt) seen_.erase(place);
}

void LogitEdits::Apply(std::span<const float> logits, std::span<float> edited) const {
  if (parameters_.allowed.empty()) {
    std::copy(logits.begin(), logits.end(), edited.begin());
  } else {
    std::fill(edited.begin(), edited.end(), kImpossible);
    for (const int32_t token : parameters_.allowed) edited[token] = logits[token];
  }
  for (const std::vector<int32_t>& word : parameters_.bad_words) {
    if (IsNext(output_, word)) edited[word.back()] = kImpossible;
  }
  for (const LogitBias& bias : parameters_.bias) edited[bias.token] += bias.bias;
  Penalize(edited);
}

void LogitEdits::Penalize(std::span<float> logits) const {
  for (const Seen& seen : seen_) {
    float& logit = logits[seen.token];
    const float repetition = parameters_.repetition_penalty;
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (seen.outputs == 0) continue;
    logit -= parameters_.frequency_penalty * static_cast<float>(seen.outputs);
    logit -= parameters_.presence_penalty;
  }
}

}  // namespace switchyard::kernels
