#include "cli/role.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/role_start.h"
#include "cli/signals.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

constexpr Duration kReadyLimit = std::chrono::minutes(30);  // a large model loads for long
constexpr Duration kReadyStep = std::chrono::seconds(1);    // also how long a signal may wait

void ReportReady(int fd, uint16_t port) {
  if (fd < 0) return;
  const std::string line = absl::StrCat(port, "\n");
  if (write(fd, line.data(), line.size()) < 0) LogWarning() << "nobody waits for this role";
  close(fd);
}

}  // namespace

absl::Status RunRole(const RoleOptions& options) {
  Signals signals;
  ASSIGN_OR_RETURN(const auto role,
                   StartRole(options, {.pool = MakeComputeThreads(options.threads)}));
  signals.Serve();
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
  role->Drain(Clock::Real().Now() + kDrainTime);
  announce.join();
  return absl::OkStatus();
}

}  // namespace switchyard::cli
