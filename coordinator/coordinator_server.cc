#include "coordinator/coordinator_server.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "coordinator/coordinator_state.h"
#include "coordinator/order_sender.h"
#include "coordinator/watch_hub.h"
#include "proto/coordinator.grpc.pb.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/base/version.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/grpc_status.h"
#include "services/runtime/identity.h"

namespace switchyard::coordinator {
namespace {

// Leases and delays are looked at this often at least.
constexpr Duration kTick = std::chrono::milliseconds(50);

constexpr Duration kShutdownTimeout = std::chrono::seconds(1);

using Service = v1::Coordinator::WithCallbackMethod_Watch<v1::Coordinator::Service>;

StateOptions ToStateOptions(const CoordinatorOptions& options) {
  return {.incarnation = runtime::NewIncarnation(),
          .software_version = kVersion,
          .numerics = options.numerics,
          .replicas = options.replicas,
          .lease = options.lease,
          .min_expert_hosts = options.min_expert_hosts,
          .start_wait = options.start_wait,
          .repair_delay = options.repair_delay};
}

}  // namespace

// Handlers only change the state; the loop's thread decides, publishes and sends.
struct Coordinator::Impl : public Service {
  explicit Impl(const CoordinatorOptions& options)
      : state(ToStateOptions(options), options.clock),
        sender([this](uint64_t id, absl::StatusOr<LayerList> loaded) {
          std::lock_guard lock(mutex);
          state.OrderDone(id, loaded);
          Wake();
        }) {}
  ~Impl() override;

  absl::Status Listen(const CoordinatorOptions& options);
  void Loop();
  void Wake() {  // with the lock held
    woken = true;
    changed.notify_all();
  }

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override;
  grpc::ServerWriteReactor<v1::Placement>* Watch(grpc::CallbackServerContext*,
                                                 const v1::WatchRequest* request) override;
  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                     v1::DrainResponse*) override;
  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest*,
                      v1::ClusterStatus* response) override;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;  // these are guarded by mutex
  bool woken = false;
  CoordinatorState state;

  WatchHub hub;
  OrderSender sender;
  std::optional<runtime::GrpcServer> server;
  std::thread loop;
};

absl::Status Coordinator::Impl::Listen(const CoordinatorOptions& options) {
  ASSIGN_OR_RETURN(server, runtime::GrpcServer::Start({
                               .address = options.address,
                               .services = {{v1::Coordinator::service_full_name(), this}},
                               .reflection = options.reflection,
                               .shutdown_timeout = kShutdownTimeout,
                           }));
  loop = std::thread([this] { Loop(); });
  server->SetServing(true);
  return absl::OkStatus();
}

Coordinator::Impl::~Impl() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
    changed.notify_all();
  }
  if (loop.joinable()) loop.join();
  hub.Close();
  server.reset();  // no handler runs after this
}

void Coordinator::Impl::Loop() {
  std::shared_ptr<const v1::Placement> published;
  std::unique_lock lock(mutex);
  while (!stopping) {
    woken = false;
    const std::vector<Order> orders = state.Tick();
    const std::shared_ptr<const v1::Placement> placement = state.placement();
    lock.unlock();
    if (placement != published) {
      hub.Publish(placement);
      published = placement;
    }
    for (const Order& order : orders) sender.Send(order);
    lock.lock();
    changed.wait_for(lock, kTick, [&] { return stopping || woken; });
  }
}

grpc::Status Coordinator::Impl::Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                                         v1::RegisterResponse* response) {
  std::lock_guard lock(mutex);
  absl::StatusOr<v1::RegisterResponse> result = state.Register(*request);
  if (!result.ok()) {
    LogWarning() << "refused a member: " << result.status().message();
    return runtime::ToGrpc(result.status());
  }
  *response = *std::move(result);
  Wake();
  return grpc::Status::OK;
}

grpc::Status Coordinator::Impl::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                          v1::HeartbeatResponse* response) {
  std::lock_guard lock(mutex);
  absl::StatusOr<v1::HeartbeatResponse> result = state.Heartbeat(*request);
  if (!result.ok()) return runtime::ToGrpc(result.status());
  *response = *std::move(result);
  Wake();
  return grpc::Status::OK;
}

grpc::ServerWriteReactor<v1::Placement>* Coordinator::Impl::Watch(grpc::CallbackServerContext*,
                                                                  const v1::WatchRequest* request) {
  {
    std::lock_guard lock(mutex);
    const absl::Status status = state.ObserveEpoch(request->last_epoch());
    if (!status.ok()) LogWarning() << "a watcher's last epoch is ignored: " << status.message();
    Wake();
  }
  return hub.Open();
}

grpc::Status Coordinator::Impl::Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                                      v1::DrainResponse*) {
  std::lock_guard lock(mutex);
  const absl::Status status = state.Drain(request->name());
  Wake();
  return runtime::ToGrpc(status);
}

grpc::Status Coordinator::Impl::Status(grpc::ServerContext*, const v1::StatusRequest*,
                                       v1::ClusterStatus* response) {
  std::lock_guard lock(mutex);
  *response = state.Status();
  return grpc::Status::OK;
}

absl::StatusOr<Coordinator> Coordinator::Start(const CoordinatorOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  RETURN_IF_ERROR(impl->Listen(options));
  return Coordinator(std::move(impl));
}

Coordinator::Coordinator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Coordinator::Coordinator(Coordinator&&) noexcept = default;
Coordinator& Coordinator::operator=(Coordinator&&) noexcept = default;
Coordinator::~Coordinator() = default;

uint16_t Coordinator::port() const { return impl_->server->port(); }
const std::string& Coordinator::address() const { return impl_->server->address(); }

}  // namespace switchyard::coordinator
