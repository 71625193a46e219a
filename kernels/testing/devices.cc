#include "kernels/testing/devices.h"

#include <iostream>
#include <utility>

#include "kernels/device/make_device.h"
#include "kernels/device/simt_device.h"
#include "kernels/simt/host_launch.h"

namespace switchyard::kernels::testing {
namespace {

std::vector<Device*> MakeTestDevices() {
  static auto* const pool = new ThreadPool(2);
  std::vector<Device*> devices = {MakeEmulatedDevice(*pool).release()};
  absl::StatusOr<std::unique_ptr<Device>> gpu = MakeGpu(*pool);
  if (gpu.ok()) {
    devices.push_back(gpu->release());
  } else {
    std::cout << "no test on a GPU: " << gpu.status().message() << std::endl;
  }
  return devices;
}

// A GPU changes where memory comes from, so it must be found before a test allocates any.
[[maybe_unused]] const auto& g_devices = TestDevices();

}  // namespace

std::unique_ptr<Device> MakeEmulatedDevice(ThreadPool& pool) {
  return std::make_unique<SimtDevice<HostLaunch>>("emulated", HostLaunch(pool), pool);
}

absl::StatusOr<std::unique_ptr<Device>> MakeGpu(ThreadPool& pool) {
  return MakeDevice("cuda:0", pool);
}

const std::vector<Device*>& TestDevices() {
  static auto* const devices = new std::vector<Device*>(MakeTestDevices());
  return *devices;
}

}  // namespace switchyard::kernels::testing
