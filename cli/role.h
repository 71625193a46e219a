#pragma once

// `switchyard role KIND`: one role as a process of its own. `serve` starts its processes this way;
// Kubernetes starts its pods the same way.

#include <CLI/CLI.hpp>

#include "absl/status/status.h"
#include "cli/role_options.h"

namespace switchyard::cli {

void AddRoleFlags(CLI::App& app, RoleOptions& options);

// Runs until SIGTERM or SIGINT, then drains and returns.
absl::Status RunRole(const RoleOptions& options);

}  // namespace switchyard::cli
