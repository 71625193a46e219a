#include "kernels/cuda/stream.h"

#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {

absl::StatusOr<Stream> Stream::Create() {
  cudaStream_t stream = nullptr;
  // Does not wait for the default stream, which libraries may use.
  const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return FromCuda(error, "cudaStreamCreateWithFlags");
  return Stream(stream);
}

absl::Status Stream::Synchronize() const {
  return FromCuda(cudaStreamSynchronize(get()), "cudaStreamSynchronize");
}

}  // namespace switchyard::kernels
