#include <algorithm>
#include <utility>

#include "kernels/cuda/async_copy.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/wgmma.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"
#include "kernels/expert_ffn/grouped_gemm_peaks.h"

namespace switchyard::kernels {
namespace {

constexpr float kRoundMilliseconds = 20;
constexpr int kRounds = 5;

// An event with a time, which those of kernels/cuda/event.h have not.
class Timer {
 public:
  ~Timer() {
    for (cudaEvent_t event : events_) {
      if (event != nullptr) (void)cudaEventDestroy(event);
    }
  }

  absl::Status Create() {
    for (cudaEvent_t& event : events_) {
      const cudaError_t error = cudaEventCreate(&event);
      if (error != cudaSuccess) return FromCuda(error, "cudaEventCreate");
    }
    return absl::OkStatus();
  }

  // Milliseconds of `calls` calls.
  absl::StatusOr<float> Time(cudaStream_t stream, int calls,
                             const std::function<absl::Status()>& enqueue) {
    absl::Status status = FromCuda(cudaEventRecord(events_[0], stream), "cudaEventRecord");
    for (int i = 0; i < calls && status.ok(); ++i) status.Update(enqueue());
    status.Update(FromCuda(cudaEventRecord(events_[1], stream), "cudaEventRecord"));
    status.Update(FromCuda(cudaEventSynchronize(events_[1]), "cudaEventSynchronize"));
    float milliseconds = 0;
    if (status.ok()) {
      status.Update(FromCuda(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]),
                             "cudaEventElapsedTime"));
    }
    if (!status.ok()) return status;
    return milliseconds;
  }

 private:
  cudaEvent_t events_[2] = {};
};

constexpr int kWarpgroups = 2;
constexpr int kColumns = 256;
constexpr int kSteps = 4'096;
constexpr int kRows = kWarpgroups * grouped::kInstructionRows;
constexpr uint32_t kPeakBytes =
    (kRows + kColumns) * grouped::kLineBytes + uint32_t{grouped::kAtomBytes};

// Two warpgroups multiply the same 64 x 64 and 64 x 256 over and over. Operands are not zero, for
// zeros take less power and so run at a higher clock than any real product.
__global__ void __launch_bounds__(128 * kWarpgroups, 1) RunInstructions(float* sink) {
  extern __shared__ unsigned char memory[];
  const auto unaligned = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const uint32_t shared =
      (unaligned + grouped::kAtomBytes - 1) / grouped::kAtomBytes * grouped::kAtomBytes;
  auto* const words = reinterpret_cast<uint32_t*>(memory + (shared - unaligned));
  uint32_t state = threadIdx.x + 1;
  for (uint32_t i = threadIdx.x; i < (kPeakBytes - grouped::kAtomBytes) / 4; i += blockDim.x) {
    state = state * 1664525u + 1013904223u;
    // Two bf16 of magnitude 1/2 to 1, either sign.
    words[i] = (state & 0x807f807fu) | 0x3f003f00u;
  }
  FenceForTensorCores();
  __syncthreads();
  const int warpgroup = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
  const uint64_t left = grouped::OperandDescriptor(shared) +
                        static_cast<uint64_t>(warpgroup) * grouped::kDescriptorHalf;
  const uint64_t right = grouped::OperandDescriptor(shared + kRows * grouped::kLineBytes);
  float sums[kColumns / 2] = {};
  HandOver(sums);
  for (int step = 0; step < kSteps; ++step) {
    BeginProducts();
#pragma unroll
    for (int k = 0; k < grouped::kStepDepth / grouped::kInstructionDepth; ++k) {
      AddProduct(left + k * grouped::kDescriptorStep, right + k * grouped::kDescriptorStep, sums);
    }
    CommitProducts();
    WaitForProducts<1>();
  }
  WaitForProducts<0>();
  HandOver(sums);
  float all = 0;
  for (const float sum : sums) all += sum;
  sink[blockIdx.x * blockDim.x + threadIdx.x] = all;
}

}  // namespace

absl::StatusOr<double> MeasureOnStream(cudaStream_t stream,
                                       const std::function<absl::Status()>& enqueue) {
  Timer timer;
  if (absl::Status status = timer.Create(); !status.ok()) return status;
  const auto first = timer.Time(stream, 1, enqueue);
  if (!first.ok()) return first.status();
  const auto second = timer.Time(stream, 4, enqueue);
  if (!second.ok()) return second.status();
  const int calls = std::clamp(static_cast<int>(4 * kRoundMilliseconds / *second) + 1, 1, 10'000);
  double least = 0;
  for (int round = 0; round <= kRounds; ++round) {
    const auto time = timer.Time(stream, calls, enqueue);
    if (!time.ok()) return time.status();
    const double seconds = double{*time} / 1e3 / calls;
    if (round == 1 || (round > 1 && seconds < least)) least = seconds;
  }
  return least;
}

absl::StatusOr<double> MeasureMatrixPeak(cudaStream_t stream, int multiprocessors) {
  const auto threads = static_cast<unsigned>(128 * kWarpgroups);
  const auto blocks = static_cast<unsigned>(multiprocessors);
  const auto sink = DeviceMemory::Allocate(size_t{threads} * blocks * sizeof(float));
  if (!sink.ok()) return sink.status();
  const cudaError_t allowed = cudaFuncSetAttribute(
      RunInstructions, cudaFuncAttributeMaxDynamicSharedMemorySize, kPeakBytes);
  if (allowed != cudaSuccess) return FromCuda(allowed, "cudaFuncSetAttribute");
  const auto seconds = MeasureOnStream(stream, [&] {
    RunInstructions<<<blocks, threads, kPeakBytes, stream>>>(sink->As<float>());
    return CheckLaunch("RunInstructions");
  });
  if (!seconds.ok()) return seconds.status();
  const double products = double{kSteps} * grouped::kStepDepth * kRows * kColumns * multiprocessors;
  return 2 * products / *seconds;
}

absl::StatusOr<double> MeasureCopyPeak(cudaStream_t stream) {
  constexpr size_t kBytes = size_t{1} << 30;
  const auto from = DeviceMemory::Allocate(kBytes), to = DeviceMemory::Allocate(kBytes);
  if (!from.ok()) return from.status();
  if (!to.ok()) return to.status();
  const auto seconds = MeasureOnStream(stream, [&] {
    return FromCuda(
        cudaMemcpyAsync(to->data(), from->data(), kBytes, cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpyAsync in the device");
  });
  if (!seconds.ok()) return seconds.status();
  return 2 * double{kBytes} / *seconds;
}

}  // namespace switchyard::kernels
