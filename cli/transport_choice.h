#pragma once

// The data path that --transport names.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "cli/role_options.h"
#include "services/transport/loopback.h"
#include "services/transport/transport.h"

namespace switchyard::cli {

using TransportFactory = std::function<absl::StatusOr<std::unique_ptr<transport::Transport>>(
    uint64_t member, uint64_t incarnation)>;

// `network` is needed for "loopback" only.
absl::StatusOr<TransportFactory> ChooseTransport(
    const RoleOptions& options, std::shared_ptr<transport::LoopbackNetwork> network);

}  // namespace switchyard::cli
