#pragma once

// The one place where errors of the CUDA runtime become absl::Status.

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace switchyard::kernels {

// What `call` ("cudaMalloc of 64 bytes") returned. An error names the call, the thread's current
// device where there is one, CUDA's name for the error, and what to do about it:
//
//   kResourceExhausted    memory of the device or of the host is exhausted
//   kFailedPrecondition   no device, no driver, too old a driver, another device than the code is
//   for kUnavailable          the device is there but taken kInternal             anything else,
//   which is a fault of this program or of the hardware. After
//                         some of them CUDA does nothing more in this process; the message says so
//
// An error is also taken off the thread's record, so that the next launch is not blamed for it.
absl::Status FromCuda(cudaError_t error, absl::string_view call);

// What the launch just before, of a kernel of that name, returned. It says nothing of how the
// kernel ran.
absl::Status CheckLaunch(absl::string_view kernel);

}  // namespace switchyard::kernels
