#pragma once

// What --device says: the processor, or one of NVIDIA's GPUs.

#include <string_view>

#include "absl/status/statusor.h"

namespace switchyard::kernels {

enum class DeviceKind { kCpu, kCuda };

struct DeviceName {
  DeviceKind kind = DeviceKind::kCpu;
  int ordinal = 0;  // of the GPUs that the process sees; 0 for the processor

  bool operator==(const DeviceName&) const = default;
};

// "cpu", "cuda:N", or "cuda", which is cuda:0. Says nothing of whether the device is there.
absl::StatusOr<DeviceName> ParseDeviceName(std::string_view name);

}  // namespace switchyard::kernels
