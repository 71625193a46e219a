#pragma once

// A process that tests and benchmarks start, talk to by its standard output, and kill.

#include <sys/types.h>

#include <string>
#include <vector>

#include "services/base/unique_fd.h"

namespace switchyard::transport {

class ChildProcess {
 public:
  // Runs argv[0] with the arguments; aborts when it cannot.
  explicit ChildProcess(const std::vector<std::string>& argv);
  ~ChildProcess();  // kills it
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next line of its output, without the newline; empty at the end.
  std::string ReadLine();

  void Signal(int signal);

  // Waits until it ends; its exit code, or minus the signal that killed it.
  int Join();

 private:
  pid_t pid_ = -1;
  UniqueFd output_;
};

}  // namespace switchyard::transport
