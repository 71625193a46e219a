// Attention against the limits of the machine: decode reads every key and value once, so it is
// graded beside a plain read of as much memory; prefill is graded in FLOP/s. Arguments: heads, kv
// heads, head_dim, context, sequences (decode) or rows (prefill).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/buffer.h"

namespace switchyard::kernels {
namespace {

int Threads() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

void BM_MemoryRead(benchmark::State& state) {
  ThreadPool pool(Threads());
  const int64_t bytes = int64_t{1} << 30, tile = 1 << 20;
  Buffer buffer(bytes);
  std::memset(buffer.data(), 1, bytes);
  for (auto _ : state) {
    pool.ParallelFor(bytes / tile, [&](int64_t index, int) {
      using Words [[gnu::vector_size(64)]] = uint64_t;
      const Words* line = buffer.As<Words>() + index * tile / 64;
      Words sums[4] = {};
      for (int64_t i = 0; i < tile / 64; i += 4) {
        for (int64_t j = 0; j < 4; ++j) sums[j] ^= line[i + j];
      }
      for (Words& sum : sums) benchmark::DoNotOptimize(sum);
    });
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}
BENCHMARK(BM_MemoryRead)->UseRealTime();

struct Setup {
  Setup(const benchmark::State& state, int64_t sequences, int64_t rows)
      : Setup({.type = DType::kBfloat16, .kv_heads = state.range(1), .head_dim = state.range(2)},
              state, sequences, rows) {}

  Setup(const KvLayout& layout, const benchmark::State& state, int64_t sequences, int64_t rows)
      : layout(layout),
        pages_each(state.range(3) / KvLayout::kPagePositions),
        cache(sequences * pages_each * layout.page_bytes()),
        pages(sequences * pages_each),
        q(sequences * rows * state.range(0) * layout.head_dim, 0.01f),
        output(sequences * rows * state.range(0) * layout.value_elements()) {
    std::memset(cache.data(), 0, cache.size());
    std::iota(pages.begin(), pages.end(), 0);
    for (int64_t s = 0; s < sequences; ++s) {
      batch.push_back({.pages = pages.data() + s * pages_each,
                       .first_position = state.range(3) - rows,
                       .rows = rows});
    }
    args = {.layout = layout,
            .cache = cache.data(),
            .sequences = batch,
            .q = q.data(),
            .q_stride = state.range(0) * layout.head_dim,
            .heads = state.range(0),
            .scale = 1.0f / std::sqrt(static_cast<float>(layout.head_dim)),
            .output = output.data()};
  }

  KvLayout layout;
  int64_t pages_each;
  Buffer cache;
  std::vector<int32_t> pages;
  std::vector<float> q;
  std::vector<float> output;
  std::vector<AttentionSequence> batch;
  AttentionArgs args;
};

void BM_Decode(benchmark::State& state) {
  ThreadPool pool(Threads());
  Setup setup(state, state.range(4), 1);
  for (auto _ : state) Attention(setup.args, pool);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(setup.cache.size()));
}
BENCHMARK(BM_Decode)
    ->UseRealTime()
    ->Args({32, 8, 128, 4096, 32})    // Mixtral 8x7B, a batch
    ->Args({32, 8, 128, 131072, 1})   // one long conversation
    ->Args({12, 1, 64, 65536, 16})    // multi-query
    ->Args({16, 16, 128, 4096, 16});  // no sharing

// The latent attention of DeepSeek: reads little and computes much, so it is graded in FLOP/s.
// Arguments: heads, elements of a
// key, of a value, context, sequences, rows of each.
void BM_Mla(benchmark::State& state) {
  ThreadPool pool(Threads());
  const int64_t heads = state.range(0), sequences = state.range(4), rows = state.range(5);
  const KvLayout layout{.type = DType::kBfloat16,
                        .kv_heads = 1,
                        .head_dim = state.range(1),
                        .value_dim = state.range(2),
                        .values_in_keys = true};
  Setup setup(layout, state, sequences, rows);
  for (auto _ : state) Attention(setup.args, pool);
  const double keys = static_cast<double>(sequences * rows) * (2 * state.range(3) - rows + 1) / 2;
  state.counters["FLOP/s"] =
      benchmark::Counter(2 * keys * heads * (layout.head_dim + layout.value_dim),
                         benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Mla)
    ->UseRealTime()
    ->Args({128, 576, 512, 4096, 4, 1})   // DeepSeek-V3
    ->Args({128, 576, 512, 512, 1, 64})   // its prefill
    ->Args({16, 576, 512, 4096, 16, 1});  // DeepSeek-V2-Lite

void BM_Prefill(benchmark::State& state) {
  ThreadPool pool(Threads());
  const int64_t context = state.range(3), rows = state.range(4);
  Setup setup(state, 1, rows);
  for (auto _ : state) Attention(setup.args, pool);
  const double keys = static_cast<double>(rows) * (context - rows + 1 + context) / 2;
  state.counters["FLOP/s"] = benchmark::Counter(4 * keys * state.range(0) * state.range(2),
                                                benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Prefill)
    ->UseRealTime()
    ->Args({32, 8, 128, 512, 512})
    ->Args({32, 8, 128, 4096, 512})
    ->Args({12, 1, 64, 512, 512})
    ->Args({16, 16, 128, 1024, 512});

}  // namespace
}  // namespace switchyard::kernels
