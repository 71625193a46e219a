#pragma once

// Choice of the next token from one row of fp32 logits. Greedy is the arg-max (lowest id wins a
// tie). Otherwise Gumbel-max over the kept set: arg-max of processed logit + Gumbel noise, noise
// from Philox keyed by (seed, position, token id). No order of summation, so the result is the same
// over vocabulary shards, batches and devices (docs/arithmetic.md, "Sampling").
// Kept set, in vLLM's order: temperature (logit / temperature in fp32), min-p, top-k, top-p
// (kept_set.h).
//
// Noise of token t: Philox4x32-10 with key = seed (low word first) and counter = (t / 4, position
// low word, position high word, 0) gives four words; word r = t mod 4 of them. With v = (fp32(r) +
// 0.5) * 2^-32 and its complement c = (fp32(2^32 - 1 - r) + 0.5) * 2^-32, the exponential variate
// is E = v + 0.5 v v where v < 2^-12, else -Log(c); the noise is -Log(E), between -3.2 and 22.9.

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::kernels {

// Temperatures below this choose greedily.
constexpr float kGreedyTemperature = 1e-5f;

struct SamplingParameters {
  float temperature = 1.0f;  // 0 is greedy
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  float min_p = 0.0f;        // 0: off
  uint64_t seed = 0;
  bool operator==(const SamplingParameters&) const = default;
};

// Scratch reused between calls; one thread at a time.
struct SamplingWorkspace {
  std::vector<float> processed;
  std::vector<int32_t> order;
};

// `position`: absolute index of the token being chosen. Fails (-1) when a logit is NaN or +inf, or
// all are -inf. No allocation once the workspace has grown.
int32_t SampleToken(std::span<const float> logits, const SamplingParameters& parameters,
                    int64_t position, SamplingWorkspace& workspace);

// Gumbel noise of one token id, fp32, finite.
float GumbelNoise(uint64_t seed, int64_t position, int32_t token);

// The next tokens of some rows, on any device (kernels/device/device.h).
struct SampleArgs {
  int64_t rows = 0;
  int64_t vocabulary = 0;
  // The host's, [rows] each: where a row's logits are, [vocabulary] of the device; what SampleToken
  // takes for the row besides, and what it gives.
  const float* const* logits = nullptr;
  const SamplingParameters* parameters = nullptr;
  const int64_t* positions = nullptr;
  int32_t* tokens = nullptr;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

// Natural-log probabilities of the raw logits (before temperature and kept set): of `token`, its
// 0-based rank, and of the `top` most likely tokens, best first, ties by lowest id. -inf for
// impossible tokens. Where SampleToken would fail the log probability is NaN and `top` empty.
struct LogprobResult {
  float logprob = 0;
  int32_t rank = 0;
  std::vector<TokenLogprob> top;
};
LogprobResult Logprobs(std::span<const float> logits, int32_t token, int32_t top);

}  // namespace switchyard::kernels
