#pragma once

// What a GPU can do at most, measured in the run that is compared with it.

#include <cuda_runtime.h>

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// Seconds on the stream of one call of `enqueue`: the least of several rounds of at least 20 ms
// each, after one round that is not counted.
absl::StatusOr<double> MeasureOnStream(cudaStream_t stream,
                                       const std::function<absl::Status()>& enqueue);

// Floating-point operations per second (two a product) of the widest bf16 instruction of tensor
// cores: every multiprocessor, operands that lie in shared memory all the time.
absl::StatusOr<double> MeasureMatrixPeak(cudaStream_t stream, int multiprocessors);

// Bytes per second, read and written ones together, of a copy of 1 GiB within the device.
absl::StatusOr<double> MeasureCopyPeak(cudaStream_t stream);

}  // namespace switchyard::kernels
