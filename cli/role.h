#pragma once

// `switchyard role KIND`: one role as a process of its own. `serve` starts its processes this way;
// Kubernetes starts its pods the same way.

#include "absl/status/status.h"
#include "cli/role_options.h"

namespace switchyard::cli {

// Runs until SIGTERM or SIGINT, then drains and returns. A second signal, or one before the role
// has started, ends the process at once.
absl::Status RunRole(const RoleOptions& options);

}  // namespace switchyard::cli
