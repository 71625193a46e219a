#include "services/transport/link_watch.h"

namespace switchyard::transport {

LinkWatch::LinkWatch(Duration period) : period_(period), thread_([this] { Run(); }) {}

LinkWatch::~LinkWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LinkWatch::Add(WatchedLinks& links) {
  const std::lock_guard lock(mutex_);
  links_.push_back(&links);
  changed_.notify_all();
}

void LinkWatch::Remove(WatchedLinks& links) {
  const std::lock_guard lock(mutex_);
  std::erase(links_, &links);
}

void LinkWatch::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    for (WatchedLinks* links : links_) links->Watch();
    if (links_.empty()) {
      changed_.wait(lock, [this] { return stopping_ || !links_.empty(); });
    } else {
      changed_.wait_for(lock, period_, [this] { return stopping_; });
    }
  }
}

}  // namespace switchyard::transport
