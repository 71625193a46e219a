// A gateway alone in its process: for images; `switchyard role gateway` is the same.

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_split.h"
#include "gateway/gateway_server.h"
#include "services/base/log.h"

ABSL_FLAG(std::string, model, "", "checkpoint folder");
ABSL_FLAG(std::string, served_model_name, "", "name in the API; the folder's if empty");
ABSL_FLAG(std::string, host, "127.0.0.1", "address to bind");
ABSL_FLAG(uint16_t, port, 8000, "port; 0 takes a free one");
ABSL_FLAG(uint16_t, grpc_port, 0, "port of the gRPC API; 0: there is none");
ABSL_FLAG(std::string, coordinator, "", "HOST:PORT of the coordinator");
ABSL_FLAG(std::string, routers, "", "HOST:PORT,... of router workers, instead of a coordinator");
ABSL_FLAG(std::string, api_key_file, "", "file with bearer keys; SWITCHYARD_API_KEYS adds more");
ABSL_FLAG(uint32_t, grace_seconds, 20, "time to finish requests after SIGTERM");
ABSL_FLAG(bool, json_logs, false, "log lines as JSON");

namespace {

absl::StatusOr<switchyard::gateway::GatewayServer> StartFromFlags() {
  auto keys = switchyard::gateway::LoadApiKeys(absl::GetFlag(FLAGS_api_key_file),
                                               std::getenv("SWITCHYARD_API_KEYS"));
  if (!keys.ok()) return keys.status();
  const uint16_t grpc_port = absl::GetFlag(FLAGS_grpc_port);
  return switchyard::gateway::GatewayServer::Start({
      .model_folder = absl::GetFlag(FLAGS_model),
      .served_model_name = absl::GetFlag(FLAGS_served_model_name),
      .host = absl::GetFlag(FLAGS_host),
      .port = absl::GetFlag(FLAGS_port),
      .grpc_port = grpc_port == 0 ? std::nullopt : std::optional(grpc_port),
      .coordinator_address = absl::GetFlag(FLAGS_coordinator),
      .router_addresses = absl::StrSplit(absl::GetFlag(FLAGS_routers), ',', absl::SkipEmpty()),
      .api_keys = *std::move(keys),
  });
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("OpenAI-compatible HTTP in front of router workers");
  absl::ParseCommandLine(argc, argv);
  switchyard::ConfigureLog("gateway", absl::GetFlag(FLAGS_json_logs));
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts
  std::signal(SIGPIPE, SIG_IGN);

  auto server = StartFromFlags();
  if (!server.ok()) {
    std::cerr << server.status().message() << "\n";
    return 1;
  }
  switchyard::LogInfo() << "listening on port " << server->port();
  int signal = 0;
  sigwait(&signals, &signal);
  const bool all_done = server->Drain(std::chrono::seconds(absl::GetFlag(FLAGS_grace_seconds)));
  if (!all_done) switchyard::LogWarning() << "requests were cut off: the grace period is over";
  return 0;
}
