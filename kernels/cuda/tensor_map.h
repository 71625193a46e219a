#pragma once

// Tensor maps: what the copying unit of Hopper (TMA) is told of a matrix in global memory.

#include <cuda.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// Lines of 64 bf16 that lie one behind the other from `first` on; a copy takes `box_lines` of them
// and swizzles their 16-byte chunks within 128 bytes on the way to shared memory.
struct LineMap {
  void* first;  // of the device, a multiple of 16
  int64_t lines;
  int32_t box_lines;
};

// The arguments of cuTensorMapEncodeTiled for such a matrix.
struct TensorMapParameters {
  void* address;
  cuuint64_t size[2];     // elements, fastest first
  cuuint64_t stride[1];   // bytes
  cuuint32_t box[2];      // elements
  cuuint32_t spacing[2];  // of the elements that are taken
};

// An error says which limit of the hardware is passed.
absl::StatusOr<TensorMapParameters> ParametersOf(const LineMap& map);

// Asks the driver, which the CUDA runtime has loaded: nothing links with it.
absl::StatusOr<CUtensorMap> EncodeTensorMap(const LineMap& map);

}  // namespace switchyard::kernels
