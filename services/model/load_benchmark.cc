// How fast weights come from the page cache into packed form, beside reading alone, into memory
// that stays and into memory that is new, which the kernel has to clear first:
//   bazel run --config=opt //services/model:load_benchmark

#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>

#include "kernels/base/buffer.h"
#include "services/base/check.h"
#include "services/model/checkpoint.h"
#include "services/model/random_checkpoint.h"

namespace switchyard::model {
namespace {

constexpr MixtralDimensions kDimensions = {.hidden = 2048,
                                           .intermediate = 7168,
                                           .layers = 1,
                                           .heads = 16,
                                           .kv_heads = 4,
                                           .head_dim = 128,
                                           .experts = 4,
                                           .top_k = 2,
                                           .vocabulary = 1000};

const Checkpoint& Example() {
  static const Checkpoint* const checkpoint = [] {
    const std::string folder = std::filesystem::temp_directory_path() / "switchyard_load_benchmark";
    kernels::ThreadPool pool(2);
    CHECK(WriteRandomCheckpoint(MixtralSpec(kDimensions), 1, folder, pool).ok()) << folder;
    absl::StatusOr<Checkpoint> opened = Checkpoint::Open(folder);
    CHECK(opened.ok()) << opened.status();
    std::filesystem::remove_all(folder);  // stays readable while it is open
    return new Checkpoint(*std::move(opened));
  }();
  return *checkpoint;
}

constexpr int64_t kExpertBytes = 3 * kDimensions.hidden * kDimensions.intermediate * 2;

void BM_ReadOnly(benchmark::State& state) {
  const Checkpoint& checkpoint = Example();
  kernels::ThreadPool pool(static_cast<int>(state.range(0)));
  constexpr int64_t kRows = 64;
  kernels::Buffer pieces(static_cast<size_t>(pool.threads()) * kRows * kDimensions.hidden * 2);
  const ExpertSource expert = checkpoint.names().Expert(0, 0);
  for (auto _ : state) {
    for (const std::string& tensor : {expert.gate.tensor, expert.up.tensor}) {
      pool.ParallelFor(kDimensions.intermediate / kRows, [&](int64_t piece, int worker) {
        char* destination = pieces.As<char>() + worker * kRows * kDimensions.hidden * 2;
        CHECK(checkpoint.ReadRows(tensor, piece * kRows, kRows, destination).ok()) << tensor;
      });
    }
  }
  state.SetBytesProcessed(state.iterations() * kExpertBytes * 2 / 3);
}
BENCHMARK(BM_ReadOnly)->Arg(1)->Arg(2)->UseRealTime();

void BM_ReadIntoNewMemory(benchmark::State& state) {
  const Checkpoint& checkpoint = Example();
  kernels::ThreadPool pool(static_cast<int>(state.range(0)));
  constexpr int64_t kRows = 64;
  constexpr int64_t kPieceBytes = kRows * kDimensions.hidden * 2;
  const ExpertSource expert = checkpoint.names().Expert(0, 0);
  for (auto _ : state) {
    for (const std::string& tensor : {expert.gate.tensor, expert.up.tensor}) {
      kernels::Buffer whole(kDimensions.intermediate / kRows * kPieceBytes);
      pool.ParallelFor(kDimensions.intermediate / kRows, [&](int64_t piece, int) {
        char* destination = whole.As<char>() + piece * kPieceBytes;
        CHECK(checkpoint.ReadRows(tensor, piece * kRows, kRows, destination).ok()) << tensor;
      });
    }
  }
  state.SetBytesProcessed(state.iterations() * kExpertBytes * 2 / 3);
}
BENCHMARK(BM_ReadIntoNewMemory)->Arg(1)->Arg(2)->UseRealTime();

void LoadExpertIn(benchmark::State& state, kernels::NumericsClass numerics) {
  const Checkpoint& checkpoint = Example();
  kernels::ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    const auto expert = LoadExpert(checkpoint, 0, 0, numerics, pool);
    CHECK(expert.ok()) << expert.status();
  }
  state.SetBytesProcessed(state.iterations() * kExpertBytes);
}
BENCHMARK_CAPTURE(LoadExpertIn, bf16, kernels::NumericsClass::kBf16)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(LoadExpertIn, fp32, kernels::NumericsClass::kFp32)->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace switchyard::model
