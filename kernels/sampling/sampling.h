#pragma once

// Choice of the next token from one row of fp32 logits. Greedy is the arg-max (lowest id wins a
// tie). Otherwise Gumbel-max over the kept set: arg-max of processed logit + Gumbel noise, noise
// from Philox keyed by (seed, position, token id). No order of summation, so the result is the same
// over vocabulary shards, batches and devices (docs/arithmetic.md, "Sampling").
// Kept set, in transformers' order and semantics: temperature, top-k, top-p.

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::kernels {

struct SamplingParameters {
  float temperature = 1.0f;  // 0 is greedy
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  uint64_t seed = 0;
  bool operator==(const SamplingParameters&) const = default;
};

// Scratch reused between calls; one thread at a time.
struct SamplingWorkspace {
  std::vector<float> processed;
  std::vector<int32_t> order;
};

// `position`: absolute index of the token being chosen. Fails (-1) when a logit is NaN.
int32_t SampleToken(std::span<const float> logits, const SamplingParameters& parameters,
                    int64_t position, SamplingWorkspace& workspace);

// Gumbel noise of one token id, fp32, finite.
float GumbelNoise(uint64_t seed, int64_t position, int32_t token);

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

// Natural-log probabilities of the raw logits (before temperature and kept set): of `token`, its
// 0-based rank, and of the `top` most likely tokens, best first, ties by lowest id.
struct LogprobResult {
  float logprob = 0;
  int32_t rank = 0;
  std::vector<TokenLogprob> top;
};
LogprobResult Logprobs(std::span<const float> logits, int32_t token, int32_t top);

}  // namespace switchyard::kernels
