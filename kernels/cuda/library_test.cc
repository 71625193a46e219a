// The real shared object, found by the program's own path.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/loader.h"

namespace switchyard::kernels {
namespace {

TEST(LibraryTest, IsFoundAndLoadedAndAsksTheDriver) {
  const auto api = LoadCudaLibrary();
  if (api.ok()) {
    EXPECT_GE((*api)->device_count().value(), 1);
    return;
  }
  // Without a driver this is as far as it goes.
  EXPECT_EQ(api.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(api.status().message()), ::testing::HasSubstr("cudaGetDeviceCount"));
}

}  // namespace
}  // namespace switchyard::kernels
