#include <cuda_runtime.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_launch.h"
#include "kernels/device/simt_device.h"
#include "kernels/expert_ffn/grouped_gemm_cuda.h"

namespace switchyard::kernels {
namespace {

// The process's GPU: threads that allocate would otherwise open GPU 0.
std::atomic<int> g_ordinal = 0;

void* AllocateUnified(size_t bytes) {
  void* data = nullptr;
  absl::Status status = FromCuda(cudaSetDevice(g_ordinal), "cudaSetDevice");
  if (status.ok()) {
    status.Update(
        FromCuda(cudaMallocManaged(&data, bytes), absl::StrCat("cudaMallocManaged of ", bytes)));
  }
  if (!status.ok()) {
    std::fprintf(stderr, "cannot allocate weights or workspace: %s\n", status.ToString().c_str());
    std::abort();
  }
  return data;
}

// Kernels that are queued may use it yet. At the process's end CUDA may be gone already; then so is
// the memory.
void ReleaseUnified(void* data) {
  cudaError_t error = cudaSetDevice(g_ordinal);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error == cudaSuccess) error = cudaFree(data);
  if (error == cudaSuccess || error == cudaErrorCudartUnloading) return;
  // FromCuda takes the error off the thread's record, so that no later launch is blamed for it.
  std::fprintf(stderr, "%s\n", FromCuda(error, "cudaFree").ToString().c_str());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int ordinal, ThreadPool& pool) {
  absl::StatusOr<CudaLaunch> launch = CudaLaunch::Create(ordinal);
  if (!launch.ok()) return launch.status();
  auto products = grouped::TensorCoreProducts::Create(ordinal);
  if (!products.ok()) return products.status();
  static std::once_flag once;
  std::call_once(once, [ordinal] {
    g_ordinal = ordinal;
    SetMemorySource(UnifiedMemorySource());
  });
  return std::make_unique<SimtDevice<CudaLaunch, grouped::TensorCoreProducts>>(
      absl::StrCat("cuda:", ordinal), *std::move(launch), *std::move(products), pool);
}

MemorySource UnifiedMemorySource() {
  return {.allocate = AllocateUnified, .release = ReleaseUnified};
}

}  // namespace switchyard::kernels
