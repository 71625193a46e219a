#pragma once

// The layout flags that serve, eval, bench and chat share: how many of which roles, over what.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace switchyard::cli {

struct LayoutOptions {
  std::string model;  // checkpoint folder
  int router_workers = 1;
  int expert_hosts = 2;
  int replicas = 1;                // of every expert
  std::string dtype = "auto";      // auto, fp32, bf16, bf16-sm90
  std::string transport = "ucx";   // ucx, ucx-shm, ucx-tcp, loopback
  std::string device = "cpu";      // of router workers and expert hosts: cpu, cuda:N
  bool in_process = false;         // all roles in this process
  int threads = 0;                 // compute threads of each role; 0: as many as there are cores
  int stages = 1;                  // parts that the layers are cut into inside a router worker
  int prefill_chunk = 256;         // most prompt tokens of one request in a step
  int64_t kv_tokens = 0;           // KV cache size in tokens; 0: by memory
  int num_speculative_tokens = 0;  // guessed ahead by the model's MTP block
  bool json_logs = false;
};

// Adds the flags, each with an environment twin (SWITCHYARD_EXPERT_HOSTS for --expert-hosts).
void AddLayoutFlags(CLI::App& app, LayoutOptions& options);

// The same flags on a role's command line and in the banner: what differs from the default.
std::string DescribeNonDefault(const LayoutOptions& options);

// What the flags cannot check one by one.
absl::Status CheckLayout(const LayoutOptions& options);

// What a flag that serve and a role have in common may be.
CLI::Validator RangeOf(const std::string& flag);

// Adds `--name` with the twin SWITCHYARD_NAME.
template <typename T>
CLI::Option* AddFlag(CLI::App& app, const std::string& name, T& value, const std::string& help);

std::string EnvironmentName(const std::string& flag);

// Kubernetes sets SWITCHYARD_PORT=tcp://ADDRESS:PORT where a service is called switchyard.
bool IsServiceLink(const std::string& variable);

template <typename T>
CLI::Option* AddFlag(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  CLI::Option* option = app.add_option(name, value, help)->capture_default_str();
  const std::string variable = EnvironmentName(name);
  return IsServiceLink(variable) ? option : option->envname(variable);
}

}  // namespace switchyard::cli
