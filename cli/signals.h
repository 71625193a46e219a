#pragma once

// SIGINT and SIGTERM as a value to wait for.

#include <memory>

namespace switchyard::cli {

class Signals {
 public:
  // Blocks both in this thread and in every thread that it starts from now on; a thread of its own
  // hears them. Until Serve is called the first one ends the process at once: there is nothing to
  // drain yet, and a start may take long.
  Signals();

  // From now on the first one is for Wait, and the second ends the process at once.
  void Serve();

  // Returns when one has arrived.
  void Wait();
  bool arrived() const;  // any thread

 private:
  struct State;
  static void Hear(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;  // shared with the thread, which never ends
};

}  // namespace switchyard::cli
