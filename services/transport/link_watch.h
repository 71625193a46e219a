#pragma once

// A thread that looks at channels with links between GPUs, whatever their owner does: the owner may
// be waiting for the device, which a transfer with a dead peer occupies until its link is aborted.

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "services/base/clock.h"

namespace switchyard::transport {

// Called from the thread; may not wait for anything that lasts.
class WatchedLinks {
 public:
  virtual ~WatchedLinks() = default;
  virtual void Watch() = 0;
};

// Thread-safe.
class LinkWatch {
 public:
  explicit LinkWatch(Duration period);
  ~LinkWatch();
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  void Add(WatchedLinks& links);
  void Remove(WatchedLinks& links);  // nothing is called any more when it returns

 private:
  void Run();

  const Duration period_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WatchedLinks*> links_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace switchyard::transport
