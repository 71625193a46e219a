#pragma once

// `switchyard eval`: runs rows of tokens through the same roles as `serve` and writes what they
// computed: logits and routing of every position, greedy continuations, the loss.

#include <CLI/CLI.hpp>

#include "absl/status/status.h"
#include "cli/layout_options.h"

namespace switchyard::cli {

struct EvalOptions {
  LayoutOptions layout;
  std::string tokens;  // JSON file of rows, or
  std::string text;    // text file
  std::string out;     // safetensors file; empty: only the loss is printed
  int greedy = 0;      // tokens to generate after each row
};

void AddEvalFlags(CLI::App& app, EvalOptions& options);

absl::Status RunEval(const EvalOptions& options);

}  // namespace switchyard::cli
