#pragma once

// `switchyard status` and `switchyard drain`: what a coordinator knows, and taking a host out.

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"

namespace switchyard::cli {

struct StatusOptions {
  std::string coordinator;  // HOST:PORT
};

struct DrainOptions {
  std::string coordinator;
  std::string name;  // of the member
};

void AddStatusFlags(CLI::App& app, StatusOptions& options);
void AddDrainFlags(CLI::App& app, DrainOptions& options);

// Prints members, epoch and placement as JSON, with what each expert host and router worker says of
// itself; a member that does not answer has an "error" instead.
absl::Status RunStatus(const StatusOptions& options);

// Asks the coordinator to move a host's experts away; returns when it has taken the order.
absl::Status RunDrain(const DrainOptions& options);

}  // namespace switchyard::cli
