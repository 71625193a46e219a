#pragma once

// `switchyard bench`: the speed of serving as ratios to what this machine can do at most, measured
// in the same run. The model is the 6.9B fine-grained design cut to a few layers, with random
// weights.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/layout_options.h"

namespace switchyard::cli {

struct BenchOptions {
  LayoutOptions layout{.dtype = "bf16"};
  std::string what = "all";  // decode, prefill or both
  std::string folder;        // of the random checkpoint; made when it is missing
  int layers = 4;
  int prompt = 512;   // tokens of a prefill request
  int generate = 64;  // tokens of a decode request
  std::vector<int> streams = {1, 8};
};

void AddBenchFlags(CLI::App& app, BenchOptions& options);

absl::Status RunBench(const BenchOptions& options);

}  // namespace switchyard::cli
