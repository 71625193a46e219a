#pragma once

// What the shared object libswitchyard_cuda.so offers to a program that was built beside it. All
// CUDA code of a process is in that one file, which is loaded when a GPU is asked for (loader.h),
// so the same program starts on a host that has no GPU and no driver.

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/base/memory.h"
#include "kernels/cuda/gpu_links.h"
#include "kernels/device/device.h"

namespace switchyard::kernels {

struct CudaApi {
  // interface_digest.h as the shared object saw it. The first member for ever: a program reads it
  // before it believes the rest, since the functions hand over C++ objects.
  const char* interface_digest;

  // At least 1; an error says why there is none.
  absl::StatusOr<int> (*device_count)();

  // cuda_device.h.
  absl::StatusOr<std::unique_ptr<Device>> (*make_device)(int ordinal, ThreadPool& pool);
  MemorySource (*unified_memory)();

  // nccl_links.h.
  absl::StatusOr<std::unique_ptr<GpuLinks>> (*make_nccl_links)(int ordinal);
};

// The one symbol that the shared object exports: extern "C" const CudaApi* SwitchyardCuda().
inline constexpr char kCudaEntry[] = "SwitchyardCuda";
using CudaEntry = const CudaApi*();

}  // namespace switchyard::kernels
