#include "cli/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace switchyard::cli {

struct Signals::State {
  sigset_t set;
  std::mutex mutex;
  std::condition_variable changed;
  bool serving = false;
  bool arrived = false;
};

Signals::Signals() : state_(std::make_shared<State>()) {
  sigemptyset(&state_->set);
  sigaddset(&state_->set, SIGINT);
  sigaddset(&state_->set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &state_->set, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a client that went away is an error of its own write
  std::thread([state = state_] { Hear(state); }).detach();
}

void Signals::Hear(const std::shared_ptr<State>& state) {
  while (true) {
    int number = 0;
    sigwait(&state->set, &number);
    std::lock_guard lock(state->mutex);
    // The processes that this one has started end with it.
    if (!state->serving || state->arrived) _exit(128 + number);
    state->arrived = true;
    state->changed.notify_all();
  }
}

void Signals::Serve() {
  std::lock_guard lock(state_->mutex);
  state_->serving = true;
}

void Signals::Wait() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->arrived; });
}

bool Signals::arrived() const {
  std::lock_guard lock(state_->mutex);
  return state_->arrived;
}

}  // namespace switchyard::cli
