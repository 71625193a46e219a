#include "kernels/testing/devices.h"

#include "kernels/device/simt_device.h"
#include "kernels/simt/host_launch.h"

namespace switchyard::kernels::testing {

std::unique_ptr<Device> MakeEmulatedDevice(ThreadPool& pool) {
  return std::make_unique<SimtDevice<HostLaunch>>("emulated", HostLaunch(pool), pool);
}

const std::vector<Device*>& TestDevices() {
  static auto* const pool = new ThreadPool(2);
  static auto* const devices = new std::vector<Device*>{MakeEmulatedDevice(*pool).release()};
  return *devices;
}

}  // namespace switchyard::kernels::testing
