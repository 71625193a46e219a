// The coordinator as a program of its own.

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "coordinator/coordinator_server.h"
#include "services/base/log.h"

ABSL_FLAG(std::string, address, "127.0.0.1:7000",
          "HOST:PORT to listen on; port 0 takes a free one");
ABSL_FLAG(std::string, dtype, "auto", "class that the pool runs: auto, fp32, bf16 or bf16-sm90");
ABSL_FLAG(uint32_t, replicas, 1, "owners of each expert");
ABSL_FLAG(uint32_t, expert_hosts, 1, "expert hosts that the first placement waits for");
ABSL_FLAG(uint32_t, lease_ms, 2000, "a member silent for so long is out");
ABSL_FLAG(bool, json_logs, false, "log JSON objects");

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Keeps the membership and the placement of a Switchyard cluster.");
  absl::ParseCommandLine(argc, argv);
  switchyard::ConfigureLog("coordinator", absl::GetFlag(FLAGS_json_logs));

  // Blocked before any thread starts, so that only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  switchyard::v1::Numerics numerics = switchyard::v1::NUMERICS_UNSPECIFIED;
  if (dtype == "fp32") {
    numerics = switchyard::v1::NUMERICS_FP32;
  } else if (dtype == "bf16") {
    numerics = switchyard::v1::NUMERICS_BF16;
  } else if (dtype == "bf16-sm90") {
    numerics = switchyard::v1::NUMERICS_BF16_SM90;
  } else if (dtype != "auto") {
    switchyard::LogError() << "--dtype is auto, fp32, bf16 or bf16-sm90, not '" << dtype << "'";
    return 2;
  }
  const auto coordinator = switchyard::coordinator::Coordinator::Start({
      .address = absl::GetFlag(FLAGS_address),
      .numerics = numerics,
      .replicas = absl::GetFlag(FLAGS_replicas),
      .lease = std::chrono::milliseconds(absl::GetFlag(FLAGS_lease_ms)),
      .min_expert_hosts = absl::GetFlag(FLAGS_expert_hosts),
  });
  if (!coordinator.ok()) {
    switchyard::LogError() << coordinator.status().message();
    return 1;
  }
  switchyard::LogInfo() << "listening on " << coordinator->address();
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}
