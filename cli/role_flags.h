#pragma once

// The command line of `switchyard role KIND`.

#include <CLI/CLI.hpp>

#include "cli/role_options.h"

namespace switchyard::cli {

void AddRoleFlags(CLI::App& app, RoleOptions& options);

}  // namespace switchyard::cli
