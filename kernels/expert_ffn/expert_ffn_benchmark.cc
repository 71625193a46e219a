// The feed-forward experts of one layer: hidden 768, intermediate 6144, 16 experts, top-4. Given as
// ratios of what the machine can do: reading weights for few tokens, multiplying for many.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "kernels/base/machine_limits.h"
#include "kernels/expert_ffn/expert_ffn.h"

namespace switchyard::kernels {
namespace {

constexpr int64_t kHidden = 768;
constexpr int64_t kIntermediate = 6144;
constexpr int64_t kExperts = 16;
constexpr int64_t kTopK = 4;

struct Limits {
  double dram, peak;
};

const Limits& LimitsOf(NumericsClass numerics, int threads) {
  static std::map<std::pair<NumericsClass, int>, Limits> known;
  const auto [entry, inserted] = known.try_emplace({numerics, threads});
  if (inserted) {
    ThreadPool pool(threads);
    entry->second = {MeasureDramReadRate(pool), MeasureDotProductPeak(numerics, pool)};
  }
  return entry->second;
}

PackedMatrix Matrix(NumericsClass numerics, int64_t n, int64_t k) {
  PackedMatrix w(numerics, n, k);
  const std::vector<float> row(static_cast<size_t>(n * k), 0.01f);
  w.PackRows(0, n, row.data(), DType::kFloat32);
  return w;
}

const std::vector<ExpertWeights>& Experts(NumericsClass numerics) {
  static std::map<NumericsClass, std::vector<ExpertWeights>> all;
  std::vector<ExpertWeights>& experts = all[numerics];
  while (experts.size() < kExperts) {
    experts.push_back({Matrix(numerics, kIntermediate, kHidden),
                       Matrix(numerics, kIntermediate, kHidden),
                       Matrix(numerics, kHidden, kIntermediate)});
  }
  return experts;
}

// Arguments: class, tokens, threads. Token t goes to kTopK experts that follow one another, so few
// tokens visit other experts in each iteration and find none of them in the cache.
void BM_ExpertFfn(benchmark::State& state) {
  const auto numerics = static_cast<NumericsClass>(state.range(0));
  const int64_t tokens = state.range(1);
  const int threads = static_cast<int>(state.range(2));
  const Limits& limits = LimitsOf(numerics, threads);
  const std::vector<ExpertWeights>& experts = Experts(numerics);
  const size_t row_bytes = kHidden * SizeOf(WireType(numerics));
  const std::vector<char> input(row_bytes, 0);
  std::vector<char> output(static_cast<size_t>(tokens * kTopK) * row_bytes);
  std::vector<ExpertRow> rows;
  for (size_t i = 0; i < static_cast<size_t>(tokens * kTopK); ++i) {
    rows.push_back({input.data(), output.data() + i * row_bytes, 0.25f});
  }
  ThreadPool pool(threads);
  ExpertWorkspace workspace;
  std::vector<ExpertGroup> groups;
  int64_t first = 0;
  int64_t weight_bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    groups.clear();
    weight_bytes = 0;
    const int64_t used = std::min(kExperts, tokens * kTopK);
    for (int64_t i = 0; i < used; ++i) {
      const ExpertWeights& weights = experts[static_cast<size_t>((first + i) % kExperts)];
      const int64_t count = tokens * kTopK;
      groups.push_back({&weights, count * i / used, count * (i + 1) / used});
      weight_bytes += static_cast<int64_t>(weights.bytes());
    }
    first += kTopK;
    state.ResumeTiming();
    ExpertFfn({rows, groups, WireType(numerics)}, workspace, pool);
  }
  const double flops = 2.0 * 3 * kHidden * kIntermediate * static_cast<double>(tokens * kTopK);
  const double n = static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(n * static_cast<double>(weight_bytes) / 1e9, Counter::kIsRate);
  state.counters["of_DRAM"] =
      Counter(n * static_cast<double>(weight_bytes) / limits.dram, Counter::kIsRate);
  state.counters["GFLOP/s"] = Counter(n * flops / 1e9, Counter::kIsRate);
  state.counters["of_peak"] = Counter(n * flops / limits.peak, Counter::kIsRate);
}

BENCHMARK(BM_ExpertFfn)
    ->ArgNames({"class", "tokens", "threads"})
    ->ArgsProduct({{static_cast<int64_t>(NumericsClass::kBf16),
                    static_cast<int64_t>(NumericsClass::kFp32)},
                   {1, 2, 8, 32, 128, 512},
                   {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace switchyard::kernels
