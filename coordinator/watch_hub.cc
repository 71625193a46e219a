#include "coordinator/watch_hub.h"

#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace switchyard::coordinator {

struct WatchHub::Shared {
  std::mutex mutex;
  bool closed = false;
  std::set<std::shared_ptr<Watcher>> watchers;
  std::shared_ptr<const v1::Placement> latest;
};

// One call. gRPC allows one write at a time and nothing after Finish, so both wait for the write in
// progress; no lock is held when gRPC is called.
class WatchHub::Watcher : public grpc::ServerWriteReactor<v1::Placement>,
                          public std::enable_shared_from_this<Watcher> {
 public:
  explicit Watcher(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  void Offer(std::shared_ptr<const v1::Placement> placement) {
    {
      std::lock_guard lock(mutex_);
      // Offers of different threads may overtake one another.
      if (next_ != nullptr && next_->epoch() > placement->epoch()) return;
      next_ = std::move(placement);
    }
    Proceed();
  }

  void End(grpc::Status status) {
    {
      std::lock_guard lock(mutex_);
      if (!ending_) end_status_ = std::move(status);
      ending_ = true;
    }
    Proceed();
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      busy_ = false;
      if (!ok) ending_ = true;
    }
    Proceed();
  }

  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnDone() override {
    const std::shared_ptr<Watcher> self = shared_from_this();
    std::lock_guard lock(shared_->mutex);
    shared_->watchers.erase(self);
  }

 private:
  void Proceed() {
    bool finish = false;
    {
      std::lock_guard lock(mutex_);
      if (busy_ || (!ending_ && next_ == nullptr)) return;
      busy_ = true;  // for ever, if this is the end
      finish = ending_;
      if (!finish) writing_ = std::exchange(next_, nullptr);
    }
    if (finish) {
      Finish(end_status_);
    } else {
      StartWrite(writing_.get());
    }
  }

  const std::shared_ptr<Shared> shared_;
  std::mutex mutex_;
  bool busy_ = false;  // a write is in progress, or Finish was called
  bool ending_ = false;
  grpc::Status end_status_ = grpc::Status::CANCELLED;
  std::shared_ptr<const v1::Placement> next_;
  std::shared_ptr<const v1::Placement> writing_;
};

WatchHub::WatchHub() : shared_(std::make_shared<Shared>()) {}

WatchHub::~WatchHub() { Close(); }

grpc::ServerWriteReactor<v1::Placement>* WatchHub::Open() {
  auto watcher = std::make_shared<Watcher>(shared_);
  std::shared_ptr<const v1::Placement> latest;
  bool closed = false;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->watchers.insert(watcher);
    latest = shared_->latest;
    closed = shared_->closed;
  }
  if (closed) {
    watcher->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator is stopping"));
  } else if (latest != nullptr) {
    watcher->Offer(std::move(latest));
  }
  return watcher.get();  // kept alive by the set until OnDone
}

void WatchHub::Publish(std::shared_ptr<const v1::Placement> placement) {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->latest = placement;
    watchers.assign(shared_->watchers.begin(), shared_->watchers.end());
  }
  for (const std::shared_ptr<Watcher>& watcher : watchers) watcher->Offer(placement);
}

void WatchHub::Close() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->closed = true;
    watchers.assign(shared_->watchers.begin(), shared_->watchers.end());
  }
  for (const std::shared_ptr<Watcher>& watcher : watchers) {
    watcher->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator is stopping"));
  }
}

}  // namespace switchyard::coordinator
