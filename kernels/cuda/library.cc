// The one symbol that libswitchyard_cuda.so exports, see api.h.

#include "kernels/cuda/api.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/interface_digest.h"

extern "C" const switchyard::kernels::CudaApi* SwitchyardCuda() {
  static constexpr switchyard::kernels::CudaApi kApi = {
      .interface_digest = kInterfaceDigest,
      .device_count = switchyard::kernels::DeviceCount,
  };
  return &kApi;
}
