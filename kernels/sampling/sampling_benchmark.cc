// Choice of a token from a vocabulary of 131072, one row on one thread.

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/sampling/sampling.h"

namespace switchyard::kernels {
namespace {

// A head of likely tokens above a long tail, as a language model gives.
std::vector<float> Logits() {
  std::vector<float> logits(131072);
  std::mt19937 generator(1);
  std::normal_distribution<float> tail(-4.0f, 2.5f);
  for (float& logit : logits) logit = tail(generator);
  for (int i = 0; i < 300; ++i) logits[generator() % logits.size()] = 14.0f - 2.0f * i / 50;
  return logits;
}

void Sample(benchmark::State& state, const SamplingParameters& parameters) {
  const std::vector<float> logits = Logits();
  SamplingWorkspace workspace;
  int64_t position = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(SampleToken(logits, parameters, ++position, workspace));
  }
}
BENCHMARK_CAPTURE(Sample, greedy, SamplingParameters{.temperature = 0});
BENCHMARK_CAPTURE(Sample, temperature, SamplingParameters{.temperature = 0.8f});
BENCHMARK_CAPTURE(Sample, temperature_2, SamplingParameters{.temperature = 2.0f});
BENCHMARK_CAPTURE(Sample, top_k, SamplingParameters{.top_k = 50});
BENCHMARK_CAPTURE(Sample, top_p, SamplingParameters{.top_p = 0.9f});
BENCHMARK_CAPTURE(Sample, top_k_top_p, SamplingParameters{.top_k = 50, .top_p = 0.9f});

void BM_Logprobs(benchmark::State& state) {
  const std::vector<float> logits = Logits();
  for (auto _ : state) benchmark::DoNotOptimize(Logprobs(logits, 17, 5));
}
BENCHMARK(BM_Logprobs);

}  // namespace
}  // namespace switchyard::kernels
