#include "services/transport/link_graveyard.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace switchyard::transport {

// Shared with the threads, which may outlive the graveyard.
struct LinkGraveyard::Count {
  std::mutex mutex;
  std::condition_variable changed;
  int threads = 0;
};

LinkGraveyard::LinkGraveyard() : count_(std::make_shared<Count>()) {}
LinkGraveyard::~LinkGraveyard() = default;

void LinkGraveyard::Bury(std::unique_ptr<kernels::GpuLink> link,
                         std::shared_ptr<std::byte> memory) {
  {
    const std::lock_guard lock(count_->mutex);
    ++count_->threads;
  }
  std::thread([count = count_, link = std::move(link), memory = std::move(memory)]() mutable {
    if (link != nullptr) link->Abort();
    link.reset();
    memory.reset();
    const std::lock_guard lock(count->mutex);
    --count->threads;
    count->changed.notify_all();
  }).detach();
}

bool LinkGraveyard::WaitUntilEmpty(Duration patience) {
  std::unique_lock lock(count_->mutex);
  return count_->changed.wait_for(lock, patience, [this] { return count_->threads == 0; });
}

}  // namespace switchyard::transport
