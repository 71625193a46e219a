#pragma once

// The GPUs that this process can use.

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// At least 1; an error says why there is none.
absl::StatusOr<int> DeviceCount();

// Whether cuda:`ordinal` exists and the kernels are compiled for it; an error says what it is.
absl::Status CheckDevice(int ordinal);

}  // namespace switchyard::kernels
