#include "kernels/cuda/devices.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {
namespace {

// The kernels are compiled for sm_90a, whose instructions no later generation has.
constexpr int kMajor = 9;
constexpr int kMinor = 0;

}  // namespace

absl::StatusOr<int> DeviceCount() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return FromCuda(error, "cudaGetDeviceCount");
  if (count == 0) return FromCuda(cudaErrorNoDevice, "cudaGetDeviceCount");
  return count;
}

absl::Status CheckDevice(int ordinal) {
  const absl::StatusOr<int> count = DeviceCount();
  if (!count.ok()) return count.status();
  if (ordinal < 0 || ordinal >= *count) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no device cuda:", ordinal, ": this process sees ", *count,
                     " GPU(s), cuda:0 first; CUDA_VISIBLE_DEVICES may hide others"));
  }
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
  if (error != cudaSuccess) {
    return FromCuda(error, absl::StrCat("cudaGetDeviceProperties of cuda:", ordinal));
  }
  if (properties.major != kMajor || properties.minor != kMinor) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cuda:", ordinal, " is an ", properties.name, " (sm_", properties.major, properties.minor,
        "); the kernels are compiled for sm_", kMajor, kMinor, "a (Hopper: H100, H200) only"));
  }
  if (properties.concurrentManagedAccess == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cuda:", ordinal, ", an ", properties.name,
        ", does not let the host touch unified memory while kernels run (concurrentManagedAccess), "
        "as some virtual GPUs do not; use --device cpu"));
  }
  return absl::OkStatus();
}

}  // namespace switchyard::kernels
