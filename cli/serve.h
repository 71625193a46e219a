#pragma once

// `switchyard serve`: every role of a cluster on this machine.

#include <CLI/CLI.hpp>

#include "absl/status/status.h"
#include "cli/layout_options.h"
#include "cli/local_cluster.h"

namespace switchyard::cli {

struct ServeOptions {
  LayoutOptions layout;
  GatewayFlags gateway{.start = true};
};

void AddServeFlags(CLI::App& app, ServeOptions& options);

// Serves until SIGINT or SIGTERM, then drains. A second signal, or one before everything has
// started, ends at once.
absl::Status RunServe(const ServeOptions& options);

}  // namespace switchyard::cli
