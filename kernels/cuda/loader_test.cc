#include "kernels/cuda/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace switchyard::kernels {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Message(const absl::StatusOr<const CudaApi*>& loaded) {
  return std::string(loaded.status().message());
}

TEST(LoaderTest, ALibraryOfThisBuildIsUsed) {
  const auto api = LoadCudaLibrary("kernels/cuda/fake_library.so");
  ASSERT_TRUE(api.ok()) << api.status();
  EXPECT_EQ((*api)->device_count().value(), 2);
}

TEST(LoaderTest, ALibraryOfAnotherBuildIsRefused) {
  const auto api = LoadCudaLibrary("kernels/cuda/fake_old_library.so");
  EXPECT_EQ(api.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(api), AllOf(HasSubstr("fake_old_library.so"), HasSubstr("another build")));
}

TEST(LoaderTest, AMissingFileIsNamed) {
  const auto api = LoadCudaLibrary("kernels/cuda/none.so");
  EXPECT_EQ(api.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(api), HasSubstr("kernels/cuda/none.so"));
}

TEST(LoaderTest, AFileThatIsNoLibraryIsRefused) {
  const std::string path = ::testing::TempDir() + "text.so";
  std::ofstream(path) << "not a library";
  const auto api = LoadCudaLibrary(path);
  EXPECT_EQ(api.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(api), HasSubstr("text.so"));
}

TEST(LoaderTest, ALibraryWithoutTheEntryIsRefused) {
  const auto api = LoadCudaLibrary("/lib/x86_64-linux-gnu/libm.so.6");
  EXPECT_EQ(api.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(api), HasSubstr("SwitchyardCuda"));
}

}  // namespace
}  // namespace switchyard::kernels
