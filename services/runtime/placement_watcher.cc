#include "services/runtime/placement_watcher.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/coordinator.grpc.pb.h"
#include "services/base/log.h"
#include "services/runtime/backoff.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"

namespace switchyard::runtime {
namespace {

// A stream is opened anew after this long, so that no call is without a deadline.
constexpr Duration kStreamLifetime = std::chrono::minutes(10);

}  // namespace

struct PlacementWatcher::Impl {
  explicit Impl(PlacementWatcherOptions options_in)
      : options(std::move(options_in)),
        stub(v1::Coordinator::NewStub(NewChannel(options.coordinator_address))) {}

  void Run();
  absl::Status ReadStream();
  void Accept(v1::Placement placement);
  uint64_t LastEpoch() const;

  const PlacementWatcherOptions options;
  const std::unique_ptr<v1::Coordinator::Stub> stub;

  // Of the thread:
  Backoff backoff;
  bool connected = true;  // so that an outage is told once

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  bool stopping = false;                        // guarded by mutex
  grpc::ClientContext* context = nullptr;       // of the open stream; guarded by mutex
  std::shared_ptr<const PlacementView> latest;  // guarded by mutex

  std::thread thread;
};

uint64_t PlacementWatcher::Impl::LastEpoch() const {
  std::lock_guard lock(mutex);
  return latest == nullptr ? 0 : latest->epoch();
}

void PlacementWatcher::Impl::Accept(v1::Placement placement) {
  const uint64_t epoch = placement.epoch();
  if (epoch <= LastEpoch()) return;
  absl::StatusOr<std::shared_ptr<const PlacementView>> view =
      PlacementView::Parse(std::move(placement));
  if (!view.ok()) {
    LogError() << "placement of epoch " << epoch << " dropped: " << view.status().message();
    return;
  }
  {
    std::lock_guard lock(mutex);
    latest = *view;
  }
  changed.notify_all();
  if (options.on_placement) options.on_placement(*std::move(view));
}

absl::Status PlacementWatcher::Impl::ReadStream() {
  std::unique_ptr<grpc::ClientContext> call = NewContext(kStreamLifetime);
  v1::WatchRequest request;
  request.set_id(options.member_id);
  request.set_last_epoch(LastEpoch());
  {
    std::lock_guard lock(mutex);
    if (stopping) return absl::CancelledError("stopping");
    context = call.get();
  }
  std::unique_ptr<grpc::ClientReader<v1::Placement>> reader = stub->Watch(call.get(), request);
  v1::Placement placement;
  while (reader->Read(&placement)) {
    backoff.Reset();
    connected = true;
    Accept(std::move(placement));
    placement.Clear();
  }
  const grpc::Status status = reader->Finish();
  std::lock_guard lock(mutex);
  context = nullptr;
  return FromGrpc(status);
}

void PlacementWatcher::Impl::Run() {
  while (true) {
    const absl::Status status = ReadStream();
    std::unique_lock lock(mutex);
    if (stopping) return;
    if (!absl::IsDeadlineExceeded(status) && std::exchange(connected, false)) {
      LogWarning() << "no placements from the coordinator at " << options.coordinator_address
                   << " (" << status.message() << "); going on with epoch "
                   << (latest == nullptr ? 0 : latest->epoch());
    }
    changed.wait_for(lock, backoff.Next(), [&] { return stopping; });
  }
}

PlacementWatcher::PlacementWatcher(PlacementWatcherOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

PlacementWatcher::~PlacementWatcher() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    if (impl_->context != nullptr) impl_->context->TryCancel();
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

std::shared_ptr<const PlacementView> PlacementWatcher::Latest() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->latest;
}

absl::StatusOr<std::shared_ptr<const PlacementView>> PlacementWatcher::WaitFor(
    const std::function<bool(const PlacementView&)>& accept, Duration timeout) const {
  std::unique_lock lock(impl_->mutex);
  const bool found = impl_->changed.wait_for(
      lock, timeout, [&] { return impl_->latest != nullptr && accept(*impl_->latest); });
  if (found) return impl_->latest;
  return absl::DeadlineExceededError(absl::StrCat(
      "waited ", std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count(),
      " ms for a placement from ", impl_->options.coordinator_address, "; the last epoch is ",
      impl_->latest == nullptr ? 0 : impl_->latest->epoch()));
}

}  // namespace switchyard::runtime
