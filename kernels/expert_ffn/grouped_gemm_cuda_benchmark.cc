// The grouped GEMM of expert FFNs on a GPU, as ratios of what the GPU can do in the same run: of
// the matrix peak where there are many rows, of the copy peak where there are few. One command:
//
//   bazel run --config=cuda //kernels/expert_ffn:grouped_gemm_cuda_benchmark
//
// The weights of a layer are many times the L2 cache, so each launch reads them from memory.

#include <cuda_runtime.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "kernels/cuda/devices.h"
#include "kernels/cuda/memory.h"
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

struct Peaks {
  double matrix, copy;
};

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

class Experts {
 public:
  static absl::StatusOr<Experts> Create(const Case& of) {
    const std::vector<uint16_t> values = Values(of.hidden * of.intermediate);
    Experts experts(of);
    for (int i = 0; i < of.experts; ++i) {
      auto expert = GroupedExpert::Create({.hidden = of.hidden,
                                           .intermediate = of.intermediate,
                                           .gate = {values.data()},
                                           .up = {values.data()},
                                           .down = {values.data()}});
      if (!expert.ok()) return expert.status();
      experts.experts_.push_back(*std::move(expert));
    }
    return experts;
  }

  absl::Status Measure(GroupedExpertFfn& ffn, int64_t rows_of_expert, const Peaks& peaks) const {
    const int64_t rows = rows_of_expert * case_.experts;
    const auto row_bytes = static_cast<size_t>(case_.hidden) * sizeof(uint16_t);
    const auto inputs = DeviceMemory::Allocate(static_cast<size_t>(rows) * row_bytes);
    const auto outputs = DeviceMemory::Allocate(static_cast<size_t>(rows) * row_bytes);
    const auto h = DeviceMemory::Allocate(
        static_cast<size_t>(rows * grouped::RowStride(case_.intermediate)) * sizeof(uint16_t));
    for (const auto* memory : {&inputs, &outputs, &h}) {
      if (!memory->ok()) return memory->status();
    }
    const std::vector<uint16_t> values = Values(rows * case_.hidden);
    if (cudaMemcpy(inputs->data(), values.data(), inputs->size(), cudaMemcpyHostToDevice) !=
        cudaSuccess) {
      return absl::InternalError("cannot copy the rows to the device");
    }
    std::vector<ExpertRow> batch_rows;
    for (int64_t i = 0; i < rows; ++i) {
      batch_rows.push_back({inputs->As<uint16_t>() + i * case_.hidden,
                            outputs->As<uint16_t>() + i * case_.hidden, 0.5f});
    }
    std::vector<GroupedExpertGroup> groups;
    int64_t weight_bytes = 0;
    for (const GroupedExpert& expert : experts_) {
      const auto begin = static_cast<int64_t>(groups.size()) * rows_of_expert;
      groups.push_back({&expert, begin, begin + rows_of_expert});
      weight_bytes += static_cast<int64_t>(expert.bytes());
    }
    const auto prepared = ffn.Prepare({batch_rows, groups, DType::kBfloat16, h->As<uint16_t>()});
    if (!prepared.ok()) return prepared.status();
    const auto seconds = MeasureOnStream(ffn.stream(), [&] { return ffn.Launch(*prepared); });
    if (!seconds.ok()) return seconds.status();
    Print(rows_of_expert, *seconds, static_cast<double>(weight_bytes), peaks);
    return ffn.Finish();
  }

 private:
  explicit Experts(const Case& of) : case_(of) {}

  void Print(int64_t rows_of_expert, double seconds, double weight_bytes,
             const Peaks& peaks) const {
    const auto rows = static_cast<double>(rows_of_expert * case_.experts);
    const double flops =
        6 * rows * static_cast<double>(case_.hidden * case_.intermediate) / seconds;
    // x and h are read and written besides.
    const double row_bytes = 4 * rows * static_cast<double>(case_.hidden + case_.intermediate);
    const double bytes = (weight_bytes + row_bytes) / seconds;
    std::printf("%-16s %8ld %10.1f %10.1f %8.1f%% %10.1f %8.1f%%\n", case_.name,
                static_cast<long>(rows_of_expert), seconds * 1e6, flops / 1e12,
                100 * flops / peaks.matrix, bytes / 1e9, 100 * bytes / peaks.copy);
  }

  Case case_;
  std::vector<GroupedExpert> experts_;
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
  if (absl::Status status = CheckDevice(0); !status.ok()) return status;
  auto ffn = GroupedExpertFfn::Create(0);
  if (!ffn.ok()) return ffn.status();
  const auto peaks = MeasurePeaks(ffn->stream());
  if (!peaks.ok()) return peaks.status();
  std::printf("%-16s %8s %10s %10s %9s %10s %9s\n", "layer", "rows", "us", "TFLOP/s", "of peak",
              "GB/s", "of copy");
  for (const Case& of : kCases) {
    const auto experts = Experts::Create(of);
    if (!experts.ok()) return experts.status();
    for (const int64_t rows : kRowsOfExpert) {
      if (absl::Status status = experts->Measure(*ffn, rows, *peaks); !status.ok()) return status;
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
