#pragma once

// SIGINT and SIGTERM as a value to wait for.

#include <signal.h>

#include <atomic>

namespace switchyard::cli {

class Signals {
 public:
  // Blocks both in this thread and in every thread that it starts from now on.
  Signals();

  // Returns when one arrives. One thread may wait.
  void Wait();
  bool arrived() const { return arrived_.load(); }  // Wait has returned; any thread

  // From now on the next one ends the process at once.
  void ExitOnNext();

 private:
  std::atomic<bool> arrived_{false};
  sigset_t set_;
};

}  // namespace switchyard::cli
