#pragma once

// Devices whose operations tests compare with the references: the kernels of GPUs on the CPU, and a
// GPU where there is one. Arguments lie in DeviceVector (kernels/base/memory.h).

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/memory.h"
#include "kernels/device/device.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels::testing {

// The kernels of GPUs on the CPU's threads. The pool must outlive it.
std::unique_ptr<Device> MakeEmulatedDevice(ThreadPool& pool);

// GPU 0, or why there is none that can be used.
absl::StatusOr<std::unique_ptr<Device>> MakeGpu(ThreadPool& pool);

// All of them, alive until the program ends.
const std::vector<Device*>& TestDevices();

inline Floats RandomFloats(int64_t count, uint32_t seed, float scale = 1.0f) {
  const std::vector<float> values = RandomValues(count, seed, scale);
  return {values.begin(), values.end()};
}

}  // namespace switchyard::kernels::testing
