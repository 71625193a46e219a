#pragma once

// Loads the CUDA code of this build into the process. Needs no CUDA itself.

#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda/api.h"

namespace switchyard::kernels {

// Loads libswitchyard_cuda.so, which stands beside the program or, after `bazel build`, in its
// runfiles. It stays loaded until the process ends. An error says what is wrong and what to do:
//
//   kNotFound             there is no such file
//   kFailedPrecondition   it cannot be loaded or belongs to another build
//   others                there is no device that works (cuda_status.h)
absl::StatusOr<const CudaApi*> LoadCudaLibrary();

// The same from the file at `path`.
absl::StatusOr<const CudaApi*> LoadCudaLibrary(const std::string& path);

}  // namespace switchyard::kernels
