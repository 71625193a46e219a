#include "cli/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <thread>

namespace switchyard::cli {

Signals::Signals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGINT);
  sigaddset(&set_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a client that went away is an error of its own write
}

void Signals::Wait() {
  int number = 0;
  sigwait(&set_, &number);
  arrived_.store(true);
}

void Signals::ExitOnNext() {
  std::thread([set = set_] {
    int number = 0;
    sigwait(&set, &number);
    _exit(128 + number);
  }).detach();
}

}  // namespace switchyard::cli
