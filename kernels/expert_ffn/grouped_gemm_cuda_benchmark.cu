// The grouped GEMM of expert FFNs on a GPU, as ratios of what the GPU can do in the same run: of
// the matrix peak where there are many rows, of the copy peak where there are few. One command:
//
//   bazel run --config=cuda //kernels/expert_ffn:grouped_gemm_cuda_benchmark
//
// grouped_gemm_peer.py runs it beside PyTorch and adds that ratio.
//
// The weights of a layer are many times the L2 cache, so each launch reads them from memory.

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include "kernels/base/memory.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_launch.h"
#include "kernels/expert_ffn/grouped_gemm.h"
#include "kernels/expert_ffn/grouped_gemm_cuda.h"
#include "kernels/expert_ffn/grouped_gemm_peaks.h"

namespace switchyard::kernels {
namespace {

struct Case {
  const char* name;
  int64_t hidden, intermediate;
  int experts;
};

// Shapes of one layer: of Mixtral 8x7B; of DeepSeek-V3, a host's share of 16 experts.
constexpr Case kCases[] = {{"Mixtral 8x7B", 4096, 14336, 8}, {"DeepSeek-V3/16", 7168, 2048, 16}};
constexpr int64_t kRowsOfExpert[] = {1, 4, 16, 32, 64, 128, 512, 2048};

using Gemm = grouped::GroupedGemm<grouped::TensorCoreProducts>;

struct Peaks {
  double matrix, copy;
};

// What `measure` finds on the launcher's stream.
template <typename T, typename Measure>
absl::StatusOr<T> OnStream(CudaLaunch& launch, const Measure& measure) {
  T value{};
  launch.Do([&](cudaStream_t stream) {
    const absl::StatusOr<T> found = measure(stream);
    if (found.ok()) value = *found;
    return found.status();
  });
  if (const absl::Status finished = launch.Finish(); !finished.ok()) return finished;
  return value;
}

// Values about as large as real ones, cheap to make.
std::vector<uint16_t> Values(int64_t count) {
  std::vector<uint16_t> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<uint16_t>((state >> 16 & 0x80ffu) | 0x3c00u);
  }
  return values;
}

// A matrix that all experts share would stay in the L2 cache: each has its own.
PackedMatrix Pack(const std::vector<uint16_t>& values, int64_t n, int64_t k) {
  PackedMatrix w(NumericsClass::kBf16Sm90, n, k);
  w.PackRows(0, n, values.data(), DType::kBfloat16);
  return w;
}

class Experts {
 public:
  explicit Experts(const Case& of) : case_(of) {
    const std::vector<uint16_t> values = Values(of.hidden * of.intermediate);
    for (int i = 0; i < of.experts; ++i) {
      experts_.push_back({.gate = Pack(values, of.intermediate, of.hidden),
                          .up = Pack(values, of.intermediate, of.hidden),
                          .down = Pack(values, of.hidden, of.intermediate)});
    }
  }

  absl::Status Measure(CudaLaunch& launch, Gemm& gemm, int64_t rows_of_expert,
                       const Peaks& peaks) const {
    const auto rows = static_cast<size_t>(rows_of_expert * case_.experts);
    const auto hidden = static_cast<size_t>(case_.hidden);
    const std::vector<uint16_t> values = Values(static_cast<int64_t>(rows * hidden));
    const DeviceVector<uint16_t> inputs(values.begin(), values.end());
    DeviceVector<uint16_t> outputs(inputs.size());
    std::vector<ExpertRow> batch_rows;
    for (size_t i = 0; i < rows; ++i) {
      batch_rows.push_back({&inputs[i * hidden], &outputs[i * hidden], 0.5f});
    }
    std::vector<ExpertGroup> groups;
    int64_t weight_bytes = 0;
    for (const ExpertWeights& expert : experts_) {
      const auto begin = static_cast<int64_t>(groups.size()) * rows_of_expert;
      groups.push_back({&expert, begin, begin + rows_of_expert});
      weight_bytes += static_cast<int64_t>(expert.bytes());
    }
    const ExpertBatch batch = {
        .rows = batch_rows, .groups = groups, .output_type = DType::kBfloat16};
    ExpertStaging staging;
    staging.Describe(batch);
    ExpertWorkspace workspace;
    const grouped::PreparedExperts prepared = gemm.Prepare(batch, staging, workspace, launch);
    const auto seconds = OnStream<double>(launch, [&](cudaStream_t stream) {
      return MeasureOnStream(stream, [&] {
        gemm.Run(prepared, launch);
        return absl::OkStatus();
      });
    });
    if (!seconds.ok()) return seconds.status();
    Print(rows_of_expert, *seconds, static_cast<double>(weight_bytes), peaks);
    return absl::OkStatus();
  }

 private:
  void Print(int64_t rows_of_expert, double seconds, double weight_bytes,
             const Peaks& peaks) const {
    const auto rows = static_cast<double>(rows_of_expert * case_.experts);
    const double flops =
        6 * rows * static_cast<double>(case_.hidden * case_.intermediate) / seconds;
    // x and h are read and written besides.
    const double row_bytes = 4 * rows * static_cast<double>(case_.hidden + case_.intermediate);
    const double bytes = (weight_bytes + row_bytes) / seconds;
    std::printf("%-16s %8d %8d %8d %8d %10.1f %10.1f %8.1f%% %10.1f %8.1f%%\n", case_.name,
                static_cast<int>(case_.hidden), static_cast<int>(case_.intermediate), case_.experts,
                static_cast<int>(rows_of_expert), seconds * 1e6, flops / 1e12,
                100 * flops / peaks.matrix, bytes / 1e9, 100 * bytes / peaks.copy);
  }

  Case case_;
  std::vector<ExpertWeights> experts_;
};

absl::StatusOr<Peaks> MeasurePeaks(cudaStream_t stream) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    return absl::InternalError("cudaGetDeviceProperties of cuda:0");
  }
  const auto matrix = MeasureMatrixPeak(stream, properties.multiProcessorCount);
  if (!matrix.ok()) return matrix.status();
  const auto copy = MeasureCopyPeak(stream);
  if (!copy.ok()) return copy.status();
  std::printf("%s: matrix peak %.1f TFLOP/s, copy peak %.1f GB/s, both measured\n", properties.name,
              *matrix / 1e12, *copy / 1e9);
  return Peaks{*matrix, *copy};
}

absl::Status Run() {
  auto launch = CudaLaunch::Create(0);
  if (!launch.ok()) return launch.status();
  auto products = grouped::TensorCoreProducts::Create(0);
  if (!products.ok()) return products.status();
  SetMemorySource(UnifiedMemorySource());
  const auto peaks = OnStream<Peaks>(*launch, MeasurePeaks);
  if (!peaks.ok()) return peaks.status();
  std::printf("%-16s %8s %8s %8s %8s %10s %10s %9s %10s %9s\n", "layer", "hidden", "inner",
              "experts", "rows", "us", "TFLOP/s", "of peak", "GB/s", "of copy");
  Gemm gemm(*std::move(products));
  for (const Case& of : kCases) {
    const Experts experts(of);
    for (const int64_t rows : kRowsOfExpert) {
      if (absl::Status status = experts.Measure(*launch, gemm, rows, *peaks); !status.ok()) {
        return status;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace switchyard::kernels

int main() {
  const absl::Status status = switchyard::kernels::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "nothing was measured: %s\n", status.ToString().c_str());
  return 1;
}
