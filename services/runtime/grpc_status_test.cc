#include "services/runtime/grpc_status.h"

#include <gtest/gtest.h>

namespace switchyard::runtime {
namespace {

TEST(GrpcStatus, EveryCodeSurvivesBothWays) {
  EXPECT_TRUE(FromGrpc(ToGrpc(absl::OkStatus())).ok());
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status) << code;
  }
}

TEST(GrpcStatus, UnknownCodesAreUnknown) {
  const grpc::Status status(static_cast<grpc::StatusCode>(20), "what");
  EXPECT_EQ(FromGrpc(status), absl::UnknownError("what"));
}

}  // namespace
}  // namespace switchyard::runtime
