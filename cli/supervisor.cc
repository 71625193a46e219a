#include "cli/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/log.h"
#include "services/base/unique_fd.h"

namespace switchyard::cli {
namespace {

// A process that lived this long has recovered: its next restart is at once again.
constexpr Duration kHealthyLife = std::chrono::seconds(2);
constexpr Duration kFirstPause = std::chrono::milliseconds(100);
constexpr Duration kLongestPause = std::chrono::seconds(5);

// Between fork and exec only calls that are safe in a copy of a threaded process.
[[noreturn]] void ExecChild(char* const* argv, pid_t parent, int ready_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  setpgid(0, 0);  // Ctrl-C reaches the supervisor alone, which ends the roles in order
  fcntl(ready_fd, F_SETFD, 0);  // kept by this child, and by no other that starts meanwhile
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv("/proc/self/exe", argv);
  _exit(127);
}

pid_t Spawn(const std::vector<std::string>& arguments, int ready_fd) {
  std::vector<std::string> owned = arguments;
  owned.insert(owned.begin(), "switchyard");
  owned.push_back(absl::StrCat("--ready-fd=", ready_fd));
  std::vector<char*> argv;
  for (std::string& argument : owned) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) ExecChild(argv.data(), parent, ready_fd);
  return pid;
}

std::string ReadLine(int fd) {
  std::string line;
  char byte;
  while (true) {
    const ssize_t count = read(fd, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return "";  // ended without a line
    if (byte == '\n') return line;
    line.push_back(byte);
  }
}

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("was killed by ", strsignal(WTERMSIG(status)));
  return absl::StrCat("ended with code ", WEXITSTATUS(status));
}

}  // namespace

SupervisedProcess::SupervisedProcess(std::string name, std::vector<std::string> arguments)
    : name_(std::move(name)), arguments_(std::move(arguments)), thread_([this] { Run(); }) {}

SupervisedProcess::~SupervisedProcess() {
  Stop(Duration::zero());
  thread_.join();
}

absl::StatusOr<std::string> SupervisedProcess::WaitReady(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  const bool decided = changed_.wait_until(
      lock, deadline, [this] { return !ready_line_.empty() || !start_failure_.ok() || gone_; });
  if (!ready_line_.empty()) return ready_line_;
  if (!decided) return absl::DeadlineExceededError(absl::StrCat(name_, " was not ready in time"));
  return start_failure_.ok() ? absl::CancelledError(absl::StrCat(name_, " was stopped"))
                             : start_failure_;
}

absl::Status SupervisedProcess::start_failure() const {
  std::lock_guard lock(mutex_);
  return start_failure_;
}

void SupervisedProcess::SetRestartArguments(std::vector<std::string> arguments) {
  std::lock_guard lock(mutex_);
  arguments_ = std::move(arguments);
}

pid_t SupervisedProcess::pid() const {
  std::lock_guard lock(mutex_);
  return pid_;
}

int SupervisedProcess::restarts() const {
  std::lock_guard lock(mutex_);
  return restarts_;
}

void SupervisedProcess::Stop(Duration grace) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  if (pid_ != 0) kill(pid_, SIGTERM);
  if (changed_.wait_for(lock, grace, [this] { return gone_; })) return;
  if (pid_ != 0) {
    if (grace > Duration::zero()) LogWarning() << name_ << " did not end in time, killing it";
    kill(pid_, SIGKILL);
  }
  changed_.wait(lock, [this] { return gone_; });
}

void SupervisedProcess::Run() {
  Duration pause = kFirstPause;
  while (true) {
    const TimePoint born = Clock::Real().Now();
    const bool again = RunOnce();
    std::unique_lock lock(mutex_);
    if (!again || stopping_) break;
    const bool healthy = Clock::Real().Now() - born >= kHealthyLife;
    pause = healthy ? kFirstPause : std::min(pause * 2, kLongestPause);
    const Duration wait = healthy ? Duration::zero() : pause;
    if (changed_.wait_for(lock, wait, [this] { return stopping_; })) break;
    ++restarts_;
  }
  std::lock_guard lock(mutex_);
  gone_ = true;
  changed_.notify_all();
}

// One life of the process. False when it is not worth another: it never became ready at all.
bool SupervisedProcess::RunOnce() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return FailStart(absl::StrCat("pipe: ", strerror(errno)));
  }
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_t pid = 0;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
    pid = Spawn(arguments_, write_end.get());
    if (pid > 0) pid_ = pid;
  }
  if (pid < 0) return FailStart(absl::StrCat("could not be started: ", strerror(errno)));
  write_end.Reset();
  const std::string line = ReadLine(read_end.get());
  {
    std::lock_guard lock(mutex_);
    if (ready_line_.empty()) ready_line_ = line;
    changed_.notify_all();
  }
  siginfo_t ended;
  while (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  int status = 0;
  {
    std::lock_guard lock(mutex_);  // the pid is free for others only after this
    waitpid(pid, &status, 0);
    pid_ = 0;
    if (stopping_) return false;
    if (!ready_line_.empty()) {
      LogWarning() << name_ << " " << DescribeEnd(status);
      return true;
    }
  }
  return FailStart(
      absl::StrCat(DescribeEnd(status), " before it was ready; its log above says why"));
}

bool SupervisedProcess::FailStart(const std::string& how) {
  std::lock_guard lock(mutex_);
  start_failure_ = absl::UnavailableError(absl::StrCat(name_, " ", how));
  changed_.notify_all();
  return false;
}

}  // namespace switchyard::cli
