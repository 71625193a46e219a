#include "services/runtime/membership.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/coordinator.grpc.pb.h"
#include "services/base/log.h"
#include "services/runtime/backoff.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_status.h"
#include "services/runtime/identity.h"
#include "services/runtime/placement_watcher.h"

namespace switchyard::runtime {
namespace {

constexpr Duration kRegisterTimeout = std::chrono::seconds(1);

// Errors that trying again does not mend: the coordinator looked at the request and refused it.
bool IsRefusal(const absl::Status& status) {
  return !status.ok() && !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status) &&
         !absl::IsCancelled(status) && !absl::IsNotFound(status);
}

int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

PlacementWatcherOptions WatcherOptions(const MembershipOptions& options) {
  return {.coordinator_address = options.coordinator_address,
          .member_id = MemberId(options.registration.member().name()),
          .on_placement = options.on_placement};
}

}  // namespace

struct MembershipAgent::Impl {
  explicit Impl(MembershipOptions options_in)
      : options(std::move(options_in)),
        stub(v1::Coordinator::NewStub(NewChannel(options.coordinator_address))),
        watcher(WatcherOptions(options)),
        member(options.registration.member()),
        offered(options.registration.offered()) {
    member.set_id(MemberId(member.name()));
    member.set_incarnation(NewIncarnation());
  }

  void Run();
  Duration Step();  // one registration or heartbeat; how long to wait before the next
  absl::Status Register();
  absl::Status Heartbeat();
  void BecomeStranger(const std::string& why);
  void TellOnce(const absl::Status& status, std::string_view what);
  v1::HeartbeatRequest Report();

  const MembershipOptions options;
  const std::unique_ptr<v1::Coordinator::Stub> stub;
  PlacementWatcher watcher;

  // Of the lease thread:
  Backoff backoff;
  std::string told;          // the last failure logged
  bool has_lease = false;    // as far as we know
  uint64_t coordinator = 0;  // whose lease it is
  Duration lease{};          // 0 before the first registration
  TimePoint last_step{};

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  bool stopping = false;  // these are guarded by mutex
  bool heartbeat_now = false;
  std::optional<v1::ModelIdentity> model;  // once registered
  absl::Status refusal;                    // of the latest registration
  v1::Member member;
  google::protobuf::RepeatedField<int> offered;

  std::thread thread;
};

v1::HeartbeatRequest MembershipAgent::Impl::Report() {
  v1::HeartbeatRequest request;
  const std::shared_ptr<const PlacementView> latest = watcher.Latest();
  request.set_epoch(latest == nullptr ? 0 : latest->epoch());
  request.set_oldest_epoch_in_use(request.epoch());
  if (options.report) options.report(request);
  {
    std::lock_guard lock(mutex);
    request.set_id(member.id());
    request.set_incarnation(member.incarnation());
  }
  request.set_coordinator(coordinator);
  return request;
}

absl::Status MembershipAgent::Impl::Register() {
  v1::HeartbeatRequest report = Report();
  v1::RegisterRequest request = options.registration;
  {
    std::lock_guard lock(mutex);
    *request.mutable_member() = member;
    *request.mutable_offered() = offered;
  }
  *request.mutable_loaded() = std::move(*report.mutable_loaded());
  request.set_last_epoch(report.epoch());

  v1::RegisterResponse response;
  const std::unique_ptr<grpc::ClientContext> context = NewContext(kRegisterTimeout);
  absl::Status status = FromGrpc(stub->Register(context.get(), request, &response));
  {
    std::lock_guard lock(mutex);
    refusal = IsRefusal(status) ? status : absl::OkStatus();
    if (status.ok()) {
      // From now on only the class that our weights and caches are in can be ours.
      offered.Clear();
      offered.Add(response.model().numerics());
      model = response.model();
    }
  }
  changed.notify_all();
  if (!status.ok()) return status;
  has_lease = true;
  coordinator = response.coordinator();
  lease = std::chrono::milliseconds(response.lease_ms());
  return absl::OkStatus();
}

absl::Status MembershipAgent::Impl::Heartbeat() {
  const v1::HeartbeatRequest request = Report();
  v1::HeartbeatResponse response;
  const std::unique_ptr<grpc::ClientContext> context = NewContext(lease / 3);
  return FromGrpc(stub->Heartbeat(context.get(), request, &response));
}

void MembershipAgent::Impl::BecomeStranger(const std::string& why) {
  const uint64_t incarnation = NewIncarnation();
  has_lease = false;
  {
    std::lock_guard lock(mutex);
    member.set_incarnation(incarnation);
  }
  LogWarning() << options.registration.member().name() << " lost its lease (" << why
               << "); going on as a new incarnation";
  if (options.on_new_incarnation) options.on_new_incarnation(incarnation);
}

void MembershipAgent::Impl::TellOnce(const absl::Status& status, std::string_view what) {
  if (status.ok()) {
    if (!told.empty()) LogInfo() << "in touch with the coordinator again";
    told.clear();
    return;
  }
  std::string text(status.message());
  if (text == told) return;
  told = std::move(text);
  LogWarning() << what << " with the coordinator at " << options.coordinator_address
               << " failed: " << told << "; trying again";
}

Duration MembershipAgent::Impl::Step() {
  const TimePoint now = options.clock->Now();
  const Duration gap = now - std::exchange(last_step, now);
  // A step and the wait after it take two thirds of the lease at most.
  if (lease > Duration::zero() && gap > lease) {
    BecomeStranger(absl::StrCat("stopped for ", Milliseconds(gap), " ms"));
  }
  if (!has_lease) {
    const absl::Status status = Register();
    TellOnce(status, "registration");
    if (status.ok()) {
      backoff.Reset();
      return Duration::zero();  // the first heartbeat says what registrations cannot
    }
    if (absl::IsNotFound(status)) BecomeStranger(std::string(status.message()));
    return backoff.Next();
  }
  const absl::Status status = Heartbeat();
  if (absl::IsNotFound(status)) {
    BecomeStranger(std::string(status.message()));
    return Duration::zero();
  }
  if (absl::IsAborted(status)) {  // another coordinator: it has to learn of us
    has_lease = false;
    return Duration::zero();
  }
  TellOnce(status, "heartbeat");
  if (!status.ok()) return std::min(backoff.Next(), lease / 3);
  backoff.Reset();
  return lease / 3;
}

void MembershipAgent::Impl::Run() {
  last_step = options.clock->Now();
  while (true) {
    const Duration wait = Step();
    std::unique_lock lock(mutex);
    changed.wait_for(lock, wait, [&] { return stopping || heartbeat_now; });
    if (stopping) return;
    heartbeat_now = false;
  }
}

MembershipAgent::MembershipAgent(MembershipOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

MembershipAgent::~MembershipAgent() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

absl::StatusOr<v1::ModelIdentity> MembershipAgent::WaitRegistered(Duration timeout) const {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, timeout,
                          [&] { return impl_->model.has_value() || !impl_->refusal.ok(); });
  if (impl_->model.has_value()) return *impl_->model;
  if (!impl_->refusal.ok()) return impl_->refusal;
  return absl::DeadlineExceededError(absl::StrCat("no coordinator answered at ",
                                                  impl_->options.coordinator_address, " within ",
                                                  Milliseconds(timeout), " ms"));
}

v1::Member MembershipAgent::member() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->member;
}

std::shared_ptr<const PlacementView> MembershipAgent::Latest() const {
  return impl_->watcher.Latest();
}

absl::StatusOr<std::shared_ptr<const PlacementView>> MembershipAgent::WaitFor(
    const std::function<bool(const PlacementView&)>& accept, Duration timeout) const {
  return impl_->watcher.WaitFor(accept, timeout);
}

void MembershipAgent::HeartbeatNow() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->heartbeat_now = true;
  }
  impl_->changed.notify_all();
}

}  // namespace switchyard::runtime
