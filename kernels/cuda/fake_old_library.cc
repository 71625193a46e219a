// Stands for libswitchyard_cuda.so of an older build: nothing but the digest can be relied on.

#include "kernels/cuda/api.h"

extern "C" const switchyard::kernels::CudaApi* SwitchyardCuda() {
  static constexpr switchyard::kernels::CudaApi kApi = {
      .interface_digest = "0",
      .device_count = nullptr,
  };
  return &kApi;
}
