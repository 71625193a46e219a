#include "kernels/testing/devices.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/device/make_device.h"
#include "kernels/device/simt_device.h"
#include "kernels/expert_ffn/grouped_gemm_host.h"
#include "kernels/simt/host_launch.h"

namespace switchyard::kernels::testing {
namespace {

struct Devices {
  std::vector<Device*> all;
  absl::Status gpu;  // why there is none
};

const Devices& MakeTestDevices() {
  static const auto* const devices = [] {
    auto* const pool = new ThreadPool(2);
    auto* const made = new Devices{.all = {MakeEmulatedDevice(*pool).release()}};
    absl::StatusOr<std::unique_ptr<Device>> gpu = MakeGpu(*pool);
    made->gpu = gpu.status();
    if (gpu.ok()) made->all.push_back(gpu->release());
    return made;
  }();
  return *devices;
}

// Says in every program with tests on devices whether they ran on a GPU. Where one must be, as on a
// machine that was taken for it, SWITCHYARD_REQUIRE_GPU turns the skip into a failure.
TEST(Gpu, RunsTheTestsOfThisProgramToo) {
  const absl::Status& status = MakeTestDevices().gpu;
  if (status.ok()) return;
  if (getenv("SWITCHYARD_REQUIRE_GPU") != nullptr) FAIL() << status.message();
  GTEST_SKIP() << status.message();
}

// A GPU changes where memory comes from, so it must be found before a test allocates any.
[[maybe_unused]] const auto& g_devices = TestDevices();

}  // namespace

std::unique_ptr<Device> MakeEmulatedDevice(ThreadPool& pool) {
  return std::make_unique<SimtDevice<HostLaunch, grouped::HostProducts>>(
      "emulated", HostLaunch(pool), grouped::HostProducts(), pool);
}

absl::StatusOr<std::unique_ptr<Device>> MakeGpu(ThreadPool& pool) {
  return MakeDevice("cuda:0", pool);
}

const std::vector<Device*>& TestDevices() { return MakeTestDevices().all; }

}  // namespace switchyard::kernels::testing
