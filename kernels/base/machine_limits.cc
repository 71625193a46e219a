#include "kernels/base/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "kernels/base/buffer.h"
#include "kernels/base/cpu.h"
#include "kernels/base/peak_loops.h"

namespace switchyard::kernels {
namespace {

constexpr int kPasses = 5;

// Shortest of several runs of `work`, in seconds.
template <typename F>
double ShortestSeconds(const F& work) {
  double shortest = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    shortest = pass == 0 ? elapsed.count() : std::min(shortest, elapsed.count());
  }
  return shortest;
}

}  // namespace

PeakLoop PeakLoopFor(NumericsClass numerics, CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      return kFmaPeakScalar;
    case CpuLevel::kAvx2:
      return kFmaPeakAvx2;
    case CpuLevel::kAvx512:
      return kFmaPeakAvx512;
    case CpuLevel::kAvx512Bf16:
      return numerics == NumericsClass::kFp32 ? kFmaPeakAvx512 : kDotBf16PeakAvx512Bf16;
  }
  return kFmaPeakScalar;
}

ReadLoop ReadLoopFor(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      return kReadScalar;
    case CpuLevel::kAvx2:
      return kReadAvx2;
    case CpuLevel::kAvx512:
    case CpuLevel::kAvx512Bf16:
      return kReadAvx512;
  }
  return kReadScalar;
}

double MeasureDramReadRate(ThreadPool& pool) {
  constexpr int64_t kTileBytes = int64_t{1} << 20;
  constexpr int64_t kTiles = 512;
  Buffer buffer(kTiles * kTileBytes);
  char* data = buffer.As<char>();
  pool.ParallelFor(
      kTiles, [&](int64_t tile, int) { std::memset(data + tile * kTileBytes, 1, kTileBytes); });
  const ReadLoop read = ReadLoopFor(ActiveCpuLevel());
  std::atomic<int32_t> sink{0};
  const double seconds = ShortestSeconds([&] {
    pool.ParallelFor(kTiles, [&](int64_t tile, int) {
      sink.fetch_xor(read(data + tile * kTileBytes, kTileBytes / 64), std::memory_order_relaxed);
    });
  });
  return static_cast<double>(kTiles * kTileBytes) / seconds;
}

double MeasureDotProductPeak(NumericsClass numerics, ThreadPool& pool) {
  constexpr int64_t kTilesPerThread = 16;
  constexpr int64_t kTileFlops = 200'000'000;
  const PeakLoop loop = PeakLoopFor(numerics, ActiveCpuLevel());
  const int64_t tiles = kTilesPerThread * pool.threads();
  const int64_t iterations = kTileFlops / loop.flops_per_iteration;
  std::atomic<float> sink{0};
  const double seconds = ShortestSeconds([&] {
    pool.ParallelFor(
        tiles, [&](int64_t, int) { sink.store(loop.run(iterations), std::memory_order_relaxed); });
  });
  return static_cast<double>(tiles * iterations * loop.flops_per_iteration) / seconds;
}

}  // namespace switchyard::kernels
