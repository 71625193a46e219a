#include "cli/role.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/layout_options.h"
#include "cli/role_start.h"
#include "cli/signals.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

constexpr Duration kReadyLimit = std::chrono::minutes(30);  // a large model loads for long
constexpr Duration kReadyStep = std::chrono::seconds(1);    // also how long a signal may wait
constexpr Duration kDrainLimit = std::chrono::seconds(20);

void ReportReady(int fd, uint16_t port) {
  if (fd < 0) return;
  const std::string line = absl::StrCat(port, "\n");
  if (write(fd, line.data(), line.size()) < 0) LogWarning() << "nobody waits for this role";
  close(fd);
}

}  // namespace

void AddRoleFlags(CLI::App& app, RoleOptions& options) {
  app.add_option("kind", options.kind, "Which role")
      ->required()
      ->check(CLI::IsMember({"coordinator", "expert-host", "router", "gateway"}));
  AddFlag(app, "--name", options.name, "Name of this member, unique in the cluster");
  AddFlag(app, "--model", options.model, "Checkpoint folder");
  AddFlag(app, "--coordinator", options.coordinator, "HOST:PORT of the coordinator");
  AddFlag(app, "--host", options.host, "Address to bind");
  AddFlag(app, "--port", options.port, "Port to bind; 0 takes a free one");
  AddFlag(app, "--advertise", options.advertise, "Host name that other roles call");
  AddFlag(app, "--transport", options.transport, "Data path")
      ->check(CLI::IsMember({"ucx", "ucx-shm", "ucx-tcp"}));
  AddFlag(app, "--threads", options.threads, "Compute threads; 0: one per core");
  app.add_flag("--json-logs", options.json_logs, "Log lines as JSON objects");
  app.add_option("--ready-fd", options.ready_fd, "Descriptor that gets the port when ready");
  AddFlag(app, "--replicas", options.replicas, "Coordinator: owners of each expert");
  AddFlag(app, "--expert-hosts", options.expert_hosts,
          "Coordinator: hosts to wait for before the first placement");
  AddFlag(app, "--dtype", options.dtype, "Coordinator: numerics class of the pool");
  AddFlag(app, "--stages", options.stages, "Router worker: parts that the layers are cut into");
  AddFlag(app, "--prefill-chunk", options.prefill_chunk,
          "Router worker: most prompt tokens of one request in a step");
  AddFlag(app, "--kv-tokens", options.kv_tokens, "Router worker: KV cache size; 0: by memory");
  AddFlag(app, "--api-key-file", options.api_key_file, "Gateway: file with bearer keys");
  AddFlag(app, "--served-model-name", options.served_model_name, "Gateway: name of the model");
}

absl::Status RunRole(const RoleOptions& options) {
  Signals signals;
  ASSIGN_OR_RETURN(const auto role,
                   StartRole(options, {.pool = MakeComputeThreads(options.threads)}));
  // Not ready is not an error: a router worker may wait long for experts to load.
  std::thread announce([&] {
    const TimePoint limit = Clock::Real().Now() + kReadyLimit;
    while (Clock::Real().Now() < limit && !signals.arrived()) {
      const absl::Status ready = role->WaitReady(Clock::Real().Now() + kReadyStep);
      if (ready.ok()) {
        LogInfo() << "ready on port " << role->port();
        ReportReady(options.ready_fd, role->port());
        return;
      }
      LogInfo() << "not ready yet: " << ready.message();
    }
  });
  signals.Wait();
  LogInfo() << "draining";
  role->Drain(Clock::Real().Now() + kDrainLimit);
  announce.join();
  return absl::OkStatus();
}

}  // namespace switchyard::cli
