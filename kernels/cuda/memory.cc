#include "kernels/cuda/memory.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {

template <MemoryKind kind>
absl::StatusOr<CudaMemory<kind>> CudaMemory<kind>::Allocate(size_t bytes) {
  if (bytes == 0) return CudaMemory();
  void* data = nullptr;
  cudaError_t error = cudaSuccess;
  const char* call = nullptr;
  if constexpr (kind == MemoryKind::kDevice) {
    call = "cudaMalloc";
    error = cudaMalloc(&data, bytes);
  } else if constexpr (kind == MemoryKind::kPinned) {
    call = "cudaHostAlloc";
    error = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
  } else {
    call = "cudaMallocManaged";
    error = cudaMallocManaged(&data, bytes);
  }
  if (error != cudaSuccess) {
    return FromCuda(error, absl::StrCat(call, " of ", bytes, " bytes"));
  }
  return CudaMemory(data, bytes);
}

// An error here is of work that came before; its next call reports it.
template <MemoryKind kind>
void CudaMemory<kind>::Release::operator()(void* data) const {
  if constexpr (kind == MemoryKind::kPinned) {
    (void)cudaFreeHost(data);
  } else {
    (void)cudaFree(data);
  }
}

template class CudaMemory<MemoryKind::kDevice>;
template class CudaMemory<MemoryKind::kPinned>;
template class CudaMemory<MemoryKind::kUnified>;

}  // namespace switchyard::kernels
