#include "kernels/cuda/cuda_status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace switchyard::kernels {
namespace {

struct Meaning {
  absl::StatusCode code;
  const char* advice;
};

Meaning MeaningOf(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return {absl::StatusCode::kResourceExhausted,
              "see with nvidia-smi what else uses the device, or give it fewer experts or a "
              "smaller KV cache"};
    case cudaErrorNoDevice:
      return {absl::StatusCode::kFailedPrecondition,
              "this process sees no NVIDIA GPU: see whether nvidia-smi lists one, whether "
              "CUDA_VISIBLE_DEVICES hides it and whether a container was given it; --device cpu "
              "needs none"};
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorCallRequiresNewerDriver:
    case cudaErrorInitializationError:
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
      return {absl::StatusCode::kFailedPrecondition,
              "the NVIDIA driver is missing, does not work, or is older than series 580, which "
              "CUDA 13.0 needs: see what nvidia-smi says; --device cpu needs none"};
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidDeviceFunction:
      return {absl::StatusCode::kFailedPrecondition,
              "the kernels are compiled for sm_90a (Hopper: H100, H200) only"};
    case cudaErrorInvalidDevice:
      return {absl::StatusCode::kFailedPrecondition,
              "there is no such device: nvidia-smi lists those there are, and "
              "CUDA_VISIBLE_DEVICES may hide some"};
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceAlreadyInUse:
    case cudaErrorMpsServerNotReady:
    case cudaErrorMpsMaxClientsReached:
    case cudaErrorMpsMaxConnectionsReached:
      return {absl::StatusCode::kUnavailable,
              "other processes hold the device, or its compute mode lets only one use it: see "
              "nvidia-smi"};
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
      return {
          absl::StatusCode::kInternal,
          "the hardware has failed, see nvidia-smi and the system's log; CUDA does nothing more "
          "in this process, which must be restarted"};
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
      return {absl::StatusCode::kInternal,
              "a kernel started before may be at fault, compute-sanitizer finds which; CUDA does "
              "nothing more in this process, which must be restarted"};
    default:
      return {absl::StatusCode::kInternal, "this is a fault of the program"};
  }
}

std::string OnCurrentDevice() {
  int device = 0;
  return cudaGetDevice(&device) == cudaSuccess ? absl::StrCat(" on cuda:", device) : "";
}

}  // namespace

absl::Status FromCuda(cudaError_t error, absl::string_view call) {
  if (error == cudaSuccess) return absl::OkStatus();
  const Meaning meaning = MeaningOf(error);
  absl::Status status(meaning.code,
                      absl::StrCat(call, OnCurrentDevice(), ": ", cudaGetErrorString(error), " (",
                                   cudaGetErrorName(error), "); ", meaning.advice));
  (void)cudaGetLastError();
  return status;
}

absl::Status CheckLaunch(absl::string_view kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return absl::OkStatus();
  return FromCuda(error, absl::StrCat("launch of ", kernel));
}

}  // namespace switchyard::kernels
