#include "services/runtime/membership.h"

#include <algorithm>
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

// Whatever the coordinator says.
constexpr Duration kShortestLease = std::chrono::milliseconds(100);

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
  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, Duration timeout, const Request& request, Response* response);
  bool WasStopped() const;
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
  bool drained = false;      // the coordinator was told to drain us
  uint64_t coordinator = 0;  // whose lease it is
  Duration lease{};          // 0 before the first registration
  TimePoint renewed{};       // when the call began that gave or prolonged it
  TimePoint step_begin{};
  TimePoint next_step_due{};  // unless we are stopped

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  bool stopping = false;  // these are guarded by mutex
  bool heartbeat_now = false;
  grpc::ClientContext* in_flight = nullptr;
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
  if (drained) request.set_draining(true);
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

  const TimePoint begin = options.clock->Now();
  v1::RegisterResponse response;
  absl::Status status =
      Call(&v1::Coordinator::Stub::Register, kRegisterTimeout, request, &response);
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
  renewed = begin;
  coordinator = response.coordinator();
  lease = std::max<Duration>(std::chrono::milliseconds(response.lease_ms()), kShortestLease);
  return absl::OkStatus();
}

absl::Status MembershipAgent::Impl::Heartbeat() {
  const v1::HeartbeatRequest request = Report();
  const TimePoint begin = options.clock->Now();
  v1::HeartbeatResponse response;
  absl::Status status = Call(&v1::Coordinator::Stub::Heartbeat, lease / 3, request, &response);
  if (status.ok()) renewed = begin;
  drained |= response.draining();
  return status;
}

template <typename Method, typename Request, typename Response>
absl::Status MembershipAgent::Impl::Call(Method method, Duration timeout, const Request& request,
                                         Response* response) {
  const std::unique_ptr<grpc::ClientContext> context = NewContext(timeout);
  {
    std::lock_guard lock(mutex);
    if (stopping) return absl::CancelledError("stopping");
    in_flight = context.get();
  }
  const grpc::Status status = (stub.get()->*method)(context.get(), request, response);
  std::lock_guard lock(mutex);
  in_flight = nullptr;
  return FromGrpc(status);
}

// The lease ran out and we did not run in the meantime. When we did run, the coordinator is away,
// and nobody wrote us off.
bool MembershipAgent::Impl::WasStopped() const {
  if (lease == Duration::zero()) return false;
  const TimePoint now = options.clock->Now();
  return now - next_step_due > lease / 2 && now - renewed > lease;
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
  step_begin = options.clock->Now();  // however long the role took
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
  if (WasStopped()) BecomeStranger("this process was stopped for longer than it");
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
  next_step_due = options.clock->Now();
  while (true) {
    step_begin = options.clock->Now();
    const Duration wait = Step();
    next_step_due = step_begin + std::max(kRegisterTimeout, lease / 3) + wait;
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
    if (impl_->in_flight != nullptr) impl_->in_flight->TryCancel();
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
