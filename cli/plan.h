#pragma once

// `switchyard plan`: what serving a model takes, from the config of a checkpoint folder or of a
// preset, without reading weights.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace switchyard::cli {

struct PlanOptions {
  std::string model;           // checkpoint folder or preset
  std::string hosts;           // ParseHosts; empty: none
  std::string dtype = "bf16";  // fp32, bf16, bf16-sm90
  int64_t replicas = 1;
  int64_t context = 0;  // tokens of a stream; 0: the model's limit
  int64_t streams = 1;  // at a time in one router worker
  bool json = false;
};

void AddPlanFlags(CLI::App& app, PlanOptions& options);

// Prints the plan. A layout that does not fit is a plan too, no error.
absl::Status RunPlan(const PlanOptions& options);

}  // namespace switchyard::cli
