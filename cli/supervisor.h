#pragma once

// Keeps the role processes of one machine running: starts them, restarts one that dies (at once the
// first time, then with growing pauses while it keeps dying young), and ends them in order. A child
// never outlives its parent.

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/base/clock.h"

namespace switchyard::cli {

// One role process. Tells its supervisor that it is ready by a line on the descriptor that it gets
// as --ready-fd (ReportReady in role.h).
class SupervisedProcess {
 public:
  // `arguments` follow the program's own path.
  SupervisedProcess(std::string name, std::vector<std::string> arguments);
  ~SupervisedProcess();  // kills it if Stop was not called
  SupervisedProcess(const SupervisedProcess&) = delete;
  SupervisedProcess& operator=(const SupervisedProcess&) = delete;

  const std::string& name() const { return name_; }

  // The line with which the process first said that it is ready (its port). An error when it ended
  // before that, or at the deadline; the process's own log says why.
  absl::StatusOr<std::string> WaitReady(TimePoint deadline);

  // Not OK once it is clear that the process never becomes ready: how it ended.
  absl::Status start_failure() const;

  // Arguments for later restarts, for example the port that it was given at the first start.
  void SetRestartArguments(std::vector<std::string> arguments);

  pid_t pid() const;  // 0 while it is between two lives
  int restarts() const;

  // SIGTERM, no more restarts, and after `grace` SIGKILL. Returns when the process is gone.
  void Stop(Duration grace);

 private:
  void Run();
  bool RunOnce();
  bool FailStart(const std::string& how);  // false

  const std::string name_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> arguments_;
  pid_t pid_ = 0;
  int restarts_ = 0;
  bool stopping_ = false;
  bool gone_ = false;  // the thread has ended
  absl::Status start_failure_;
  std::string ready_line_;
  std::thread thread_;
};

}  // namespace switchyard::cli
