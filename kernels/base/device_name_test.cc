#include "kernels/base/device_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace switchyard::kernels {
namespace {

TEST(DeviceNameTest, ReadsTheProcessorAndGpus) {
  const DeviceName cpu{.kind = DeviceKind::kCpu};
  EXPECT_EQ(ParseDeviceName("cpu").value(), cpu);
  const DeviceName first{.kind = DeviceKind::kCuda, .ordinal = 0};
  EXPECT_EQ(ParseDeviceName("cuda").value(), first);
  EXPECT_EQ(ParseDeviceName("cuda:0").value(), first);
  const DeviceName twelfth{.kind = DeviceKind::kCuda, .ordinal = 11};
  EXPECT_EQ(ParseDeviceName("cuda:11").value(), twelfth);
}

TEST(DeviceNameTest, RefusesWhatIsNoDevice) {
  for (const char* name : {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1",
                           "cuda:1x", "cuda:256", "cuda:99999999999999999999", "cuda0"}) {
    const auto parsed = ParseDeviceName(name);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(parsed.status().message()),
                ::testing::HasSubstr("'" + std::string(name) + "'"));
  }
}

}  // namespace
}  // namespace switchyard::kernels
