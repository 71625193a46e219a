#include "cli/layout_options.h"

#include <cctype>
#include <cstdlib>
#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "kernels/base/device_name.h"

namespace switchyard::cli {

std::string EnvironmentName(const std::string& flag) {
  std::string name = "SWITCHYARD_";
  for (const char c : flag.substr(flag.find_first_not_of('-'))) {
    name.push_back(c == '-' ? '_' : static_cast<char>(toupper(c)));
  }
  return name;
}

bool IsServiceLink(const std::string& variable) {
  const char* value = getenv(variable.c_str());
  return value != nullptr && std::string_view(value).starts_with("tcp://");
}

CLI::Validator RangeOf(const std::string& flag) {
  static const auto* ranges = new std::map<std::string, CLI::Validator>{
      {"--router-workers", CLI::Range(1, 64)},
      {"--expert-hosts", CLI::Range(1, 256)},
      {"--replicas", CLI::Range(1, 16)},
      {"--dtype", CLI::IsMember({"auto", "fp32", "bf16", "bf16-sm90"})},
      {"--device", CLI::Validator(
                       [](const std::string& name) {
                         const auto device = kernels::ParseDeviceName(name);
                         return device.ok() ? "" : std::string(device.status().message());
                       },
                       "cpu, cuda or cuda:N")},
      {"--threads", CLI::Range(0, 1024)},
      {"--stages", CLI::Range(1, 64)},
      {"--prefill-chunk", CLI::Range(1, 1 << 20)},
      {"--kv-tokens", CLI::Range(int64_t{0}, int64_t{1} << 32)},
      {"--num-speculative-tokens", CLI::Range(0, 8)},
  };
  return ranges->at(flag);
}

void AddLayoutFlags(CLI::App& app, LayoutOptions& options) {
  const auto add = [&app](const std::string& name, auto& value, const std::string& help) {
    AddFlag(app, name, value, help)->check(RangeOf(name));
  };
  add("--router-workers", options.router_workers, "Router workers to start");
  add("--expert-hosts", options.expert_hosts, "Expert hosts to start");
  add("--replicas", options.replicas, "Hosts that hold each expert");
  add("--dtype", options.dtype, "Numerics class; auto takes the checkpoint's own type");
  AddFlag(app, "--transport", options.transport,
          "Data path; ucx picks shared memory, TCP or RDMA by itself, loopback is in-process")
      ->check(CLI::IsMember({"ucx", "ucx-shm", "ucx-tcp", "loopback"}));
  add("--device", options.device, "What router workers and expert hosts compute on: cpu, cuda:N");
  app.add_flag("--in-process", options.in_process, "Run every role in this process")
      ->envname(EnvironmentName("--in-process"));
  add("--threads", options.threads, "Compute threads of each role; 0: one per core");
  add("--stages", options.stages, "Parts that a router worker cuts the layers into");
  add("--prefill-chunk", options.prefill_chunk, "Most prompt tokens of one request in one step");
  add("--kv-tokens", options.kv_tokens,
      "Size of the KV cache in tokens; 0: by the memory there is");
  add("--num-speculative-tokens", options.num_speculative_tokens,
      "Tokens that the model's block for multi-token prediction guesses ahead; 0: off");
  app.add_flag("--json-logs", options.json_logs, "Log lines as JSON objects")
      ->envname(EnvironmentName("--json-logs"));
}

absl::Status CheckLayout(const LayoutOptions& options) {
  if (options.replicas > options.expert_hosts) {
    return absl::InvalidArgumentError(absl::StrCat("--replicas ", options.replicas,
                                                   " needs at least as many --expert-hosts, ",
                                                   options.expert_hosts, " given"));
  }
  if (options.transport == "loopback" && !options.in_process) {
    return absl::InvalidArgumentError(
        "--transport loopback connects roles of one process: add --in-process");
  }
  return absl::OkStatus();
}

std::string DescribeNonDefault(const LayoutOptions& options) {
  const LayoutOptions defaults;
  std::string text;
  const auto add = [&text](const char* flag, const auto& value, const auto& standard) {
    if (value != standard) absl::StrAppend(&text, " ", flag, " ", value);
  };
  add("--router-workers", options.router_workers, defaults.router_workers);
  add("--expert-hosts", options.expert_hosts, defaults.expert_hosts);
  add("--replicas", options.replicas, defaults.replicas);
  add("--dtype", options.dtype, defaults.dtype);
  add("--transport", options.transport, defaults.transport);
  add("--device", options.device, defaults.device);
  add("--threads", options.threads, defaults.threads);
  add("--stages", options.stages, defaults.stages);
  add("--prefill-chunk", options.prefill_chunk, defaults.prefill_chunk);
  add("--kv-tokens", options.kv_tokens, defaults.kv_tokens);
  add("--num-speculative-tokens", options.num_speculative_tokens, defaults.num_speculative_tokens);
  if (options.in_process) text += " --in-process";
  return text;
}

}  // namespace switchyard::cli
