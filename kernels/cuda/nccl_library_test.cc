#include "kernels/cuda/nccl_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace switchyard::kernels {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Message(const absl::StatusOr<NcclLibrary>& loaded) {
  return std::string(loaded.status().message());
}

TEST(NcclLibraryTest, ALibraryWithEveryFunctionIsUsed) {
  const auto nccl = LoadNccl("kernels/cuda/fake_nccl.so");
  ASSERT_TRUE(nccl.ok()) << nccl.status();
  EXPECT_EQ(nccl->version, NCCL_VERSION_CODE);
  ncclUniqueId id;
  EXPECT_EQ(nccl->get_unique_id(&id), ncclSuccess);
}

TEST(NcclLibraryTest, AnOldLibraryIsRefusedAndSaysWhatIsNeeded) {
  const auto nccl = LoadNccl("kernels/cuda/fake_old_nccl.so");
  EXPECT_EQ(nccl.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(nccl),
              AllOf(HasSubstr("fake_old_nccl.so"), HasSubstr("its version is 2.18.6"),
                    HasSubstr("install NCCL 2.19.1 or newer")));
}

TEST(NcclLibraryTest, AMissingFunctionIsNamed) {
  const auto nccl = LoadNccl("kernels/cuda/fake_bare_nccl.so");
  EXPECT_EQ(nccl.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(nccl), HasSubstr("no function ncclCommInitRankConfig"));
}

TEST(NcclLibraryTest, AnotherLibraryIsRefused) {
  const auto nccl = LoadNccl("/lib/x86_64-linux-gnu/libm.so.6");
  EXPECT_EQ(nccl.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(nccl), HasSubstr("no function ncclGetVersion"));
}

TEST(NcclLibraryTest, AMissingFileIsNamed) {
  const auto nccl = LoadNccl("kernels/cuda/none.so");
  EXPECT_EQ(nccl.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(nccl), HasSubstr("kernels/cuda/none.so"));
}

TEST(NcclLibraryTest, AFileThatIsNoLibraryIsRefused) {
  const std::string path = ::testing::TempDir() + "text.so";
  std::ofstream(path) << "not a library";
  EXPECT_EQ(LoadNccl(path).status().code(), absl::StatusCode::kFailedPrecondition);
}

// NCCL itself: it loads without a driver.
TEST(NcclLibraryTest, TheInstalledLibraryIsFound) {
  const auto nccl = LoadNccl();
  ASSERT_TRUE(nccl.ok()) << nccl.status();
  EXPECT_GE(nccl->version, kOldestNccl);
}

}  // namespace
}  // namespace switchyard::kernels
