// A router worker as a program of its own.

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/time/time.h"
#include "kernels/device/cpu_device.h"
#include "router_service/router_server.h"
#include "services/base/log.h"
#include "services/transport/ucx.h"

ABSL_FLAG(std::string, name, "router-worker-0", "unique in the cluster");
ABSL_FLAG(std::string, model, "", "checkpoint folder");
ABSL_FLAG(std::string, coordinator, "127.0.0.1:7000", "HOST:PORT of the coordinator");
ABSL_FLAG(std::string, address, "127.0.0.1:0", "HOST:PORT to listen on; port 0 takes a free one");
ABSL_FLAG(std::string, advertise, "", "host that others call; that of --address if empty");
ABSL_FLAG(std::string, data_host, "127.0.0.1", "numeric address of the data path");
ABSL_FLAG(int, threads, 0, "compute threads; 0: one for each core that the process may use");
ABSL_FLAG(int64_t, kv_tokens, 0, "size of the KV cache in tokens; 0: by the machine's memory");
ABSL_FLAG(int, num_speculative_tokens, 0,
          "tokens that the model's block for multi-token prediction guesses ahead; 0: off");
ABSL_FLAG(int64_t, prefill_chunk, 512, "most prompt tokens of one request in a step");
ABSL_FLAG(absl::Duration, drain, absl::Seconds(30), "time to finish requests after SIGTERM");
ABSL_FLAG(bool, json_logs, false, "log JSON objects");

namespace switchyard {
namespace {

int ComputeThreads(int wanted) {
  cpu_set_t allowed;
  if (wanted > 0 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
    return std::max(1, wanted);
  return CPU_COUNT(&allowed);
}

int Run(const sigset_t& signals) {
  kernels::ThreadPool pool(ComputeThreads(absl::GetFlag(FLAGS_threads)));
  kernels::CpuDevice device(pool);
  router::RouterOptions options;
  options.name = absl::GetFlag(FLAGS_name);
  options.model_folder = absl::GetFlag(FLAGS_model);
  options.coordinator_address = absl::GetFlag(FLAGS_coordinator);
  options.listen_address = absl::GetFlag(FLAGS_address);
  options.advertised_host = absl::GetFlag(FLAGS_advertise);
  options.transport = [host = absl::GetFlag(FLAGS_data_host)](uint64_t member, uint64_t incarnation)
      -> absl::StatusOr<std::unique_ptr<transport::Transport>> {
    return transport::UcxTransport::Start(
        {.member = member, .incarnation = incarnation, .host = host});
  };
  options.device = &device;
  options.kv_tokens = absl::GetFlag(FLAGS_kv_tokens);
  options.draft_tokens = absl::GetFlag(FLAGS_num_speculative_tokens);
  options.prefill_chunk = absl::GetFlag(FLAGS_prefill_chunk);
  auto server = router::RouterServer::Start(std::move(options));
  if (!server.ok()) {
    LogError() << server.status().message();
    return 1;
  }
  LogInfo() << "listening on port " << server->port();
  int signal = 0;
  sigwait(&signals, &signal);
  server->Drain(Clock::Real().Now() + absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_drain)));
  return 0;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Runs the attention half of a Switchyard cluster.");
  absl::ParseCommandLine(argc, argv);
  switchyard::ConfigureLog("router", absl::GetFlag(FLAGS_json_logs));
  // Blocked before any thread starts, so that only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return switchyard::Run(signals);
}
