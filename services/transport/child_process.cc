#include "services/transport/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "services/base/check.h"

namespace switchyard::transport {

ChildProcess::ChildProcess(const std::vector<std::string>& argv) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0) << "pipe";
  output_ = UniqueFd(ends[0]);
  const UniqueFd childs_end(ends[1]);
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, childs_end.get(), STDOUT_FILENO);
  const int error = posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  CHECK(error == 0) << "start " << argv[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  Signal(SIGKILL);
  Join();
}

std::string ChildProcess::ReadLine() {
  std::string line;
  char next;
  while (read(output_.get(), &next, 1) == 1 && next != '\n') line.push_back(next);
  return line;
}

void ChildProcess::Signal(int signal) { kill(pid_, signal); }

int ChildProcess::Join() {
  int status = 0;
  CHECK(waitpid(std::exchange(pid_, -1), &status, 0) > 0) << "waitpid";
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace switchyard::transport
