#pragma once

// The one place where gRPC's status and abseil's are converted into each other. Codes are the same
// numbers in both; unknown ones become kUnknown.

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace switchyard::runtime {

absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace switchyard::runtime
