#include "kernels/cuda/nccl_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace switchyard::kernels {
namespace {

using ::testing::HasSubstr;

TEST(NcclStatusTest, SuccessIsOk) { EXPECT_TRUE(FromNccl(ncclSuccess, "ncclSend").ok()); }

TEST(NcclStatusTest, NamesTheCallAndTheResult) {
  const absl::Status status = FromNccl(ncclRemoteError, "ncclRecv from rank 1");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ncclRecv from rank 1: ncclRemoteError"));
}

TEST(NcclStatusTest, AWaitThatIsTooLongIsADeadline) {
  EXPECT_EQ(FromNccl(ncclTimeout, "ncclSend").code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(NcclStatusTest, ResultsOfANewerLibraryAreErrorsToo) {
  const absl::Status status = FromNccl(ncclNumResults, "ncclSend");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("(9)"));
}

}  // namespace
}  // namespace switchyard::kernels
