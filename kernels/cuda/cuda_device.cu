#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_launch.h"
#include "kernels/device/simt_device.h"

namespace switchyard::kernels {
namespace {

void* AllocateUnified(size_t bytes) {
  void* data = nullptr;
  const absl::Status status =
      FromCuda(cudaMallocManaged(&data, bytes), absl::StrCat("cudaMallocManaged of ", bytes));
  if (!status.ok()) {
    std::fprintf(stderr, "cannot allocate weights or workspace: %s\n", status.ToString().c_str());
    std::abort();
  }
  return data;
}

// At the process's end CUDA may be gone already; then so is the memory.
void ReleaseUnified(void* data) { (void)cudaFree(data); }

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int ordinal, ThreadPool& pool) {
  absl::StatusOr<CudaLaunch> launch = CudaLaunch::Create(ordinal);
  if (!launch.ok()) return launch.status();
  return std::make_unique<SimtDevice<CudaLaunch>>(absl::StrCat("cuda:", ordinal),
                                                  *std::move(launch), pool);
}

MemorySource UnifiedMemorySource() {
  return {.allocate = AllocateUnified, .release = ReleaseUnified};
}

}  // namespace switchyard::kernels
