#pragma once

// Asks a role over grpc.health.v1 whether it serves.

#include <string>

#include "absl/status/statusor.h"
#include "services/base/clock.h"

namespace switchyard::runtime {

// `service` as in GrpcService::name, or "" for the whole server. NOT_FOUND when the server does not
// have the service; UNAVAILABLE or DEADLINE_EXCEEDED when it cannot be reached.
absl::StatusOr<bool> IsServing(const std::string& address, const std::string& service,
                               Duration timeout);

}  // namespace switchyard::runtime
