// The one symbol that libswitchyard_cuda.so exports, see api.h.

#include "kernels/cuda/api.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/interface_digest.h"
#include "kernels/cuda/nccl_links.h"

extern "C" const switchyard::kernels::CudaApi* SwitchyardCuda() {
  static constexpr switchyard::kernels::CudaApi kApi = {
      .interface_digest = kInterfaceDigest,
      .device_count = switchyard::kernels::DeviceCount,
      .make_device = switchyard::kernels::MakeCudaDevice,
      .unified_memory = switchyard::kernels::UnifiedMemorySource,
      .make_nccl_links = switchyard::kernels::MakeNcclLinks,
  };
  return &kApi;
}
