#pragma once

// What a request changes in the logits before a token is chosen from them, in vLLM's order: allowed
// tokens and bad words (what they forbid becomes -inf), bias, repetition penalty, frequency
// penalty, presence penalty. Log probabilities are of the untouched logits.

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::kernels {

struct LogitBias {
  int32_t token = 0;
  float bias = 0;
};

// Defaults change nothing. Ids are inside the vocabulary.
struct LogitEditParameters {
  // Divides a positive logit of every token of prompt and output, multiplies a negative one; > 0
  // (CTRL, Keskar et al. 2019).
  float repetition_penalty = 1;
  // Subtracted from the logits of tokens of the output: once for each token, once for each time.
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<LogitBias> bias;   // added; a token at most once
  std::vector<int32_t> allowed;  // only these can be chosen; empty: all
  // Token sequences that the output may not come to hold: the last token of one cannot be chosen
  // where the others stand right before. None is empty.
  std::vector<std::vector<int32_t>> bad_words;
};

// The edits of one sequence, which remembers what it holds. Not thread-safe.
class LogitEdits {
 public:
  // `output`: tokens generated already; at most `more` follow.
  LogitEdits(LogitEditParameters parameters, std::span<const int32_t> prompt,
             std::span<const int32_t> output, int64_t more);

  // Nothing would be changed, now or later.
  bool none() const { return none_; }

  // `token` was chosen. Does not allocate for the first `more` ones.
  void Observe(int32_t token);

  // Takes back the last Observe, which was of `token`.
  void Forget(int32_t token);

  // `edited` becomes `logits` with the edits.
  void Apply(std::span<const float> logits, std::span<float> edited) const;

 private:
  struct Seen {
    int32_t token;
    int32_t outputs;  // times in the output
    bool in_prompt;
  };

  std::vector<Seen>::iterator PlaceOf(int32_t token);
  void Count(int32_t token);
  void Uncount(int32_t token);
  void Penalize(std::span<float> logits) const;

  const LogitEditParameters parameters_;
  const bool penalizes_;
  const bool none_;
  std::vector<Seen> seen_;       // ascending ids; empty unless it penalizes
  std::vector<int32_t> output_;  // empty unless there are bad words
};

}  // namespace switchyard::kernels
