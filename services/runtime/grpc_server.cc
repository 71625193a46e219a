#include "services/runtime/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/keepalive.h"

namespace switchyard::runtime {
namespace {

// The reflection library puts itself into every server of a process that links it; this leaves it
// in only where it was asked for.
class ReflectionOption : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool wanted) : wanted_(wanted) {}

  void UpdateArguments(grpc::ChannelArguments*) override {}

  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    auto reflection = std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
    std::erase_if(*plugins, [&](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return plugin->name() == reflection->name();
    });
    if (wanted_) plugins->push_back(std::move(reflection));
  }

 private:
  const bool wanted_;
};

void SetKeepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Clients ping at kKeepaliveTimeMs; half of it leaves room for a timer that is early.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kKeepaliveTimeMs / 2);
}

}  // namespace

struct GrpcServer::Impl {
  std::unique_ptr<grpc::Server> server;
  std::vector<std::string> names;
  std::string address;
  uint16_t port = 0;
  Duration shutdown_timeout{};

  void SetServing(bool serving) {
    grpc::HealthCheckServiceInterface* health = server->GetHealthCheckService();
    health->SetServingStatus(serving);
    for (const std::string& name : names) health->SetServingStatus(name, serving);
  }
};

absl::StatusOr<GrpcServer> GrpcServer::Start(const GrpcServerOptions& options) {
  const size_t colon = options.address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("gRPC address '", options.address, "' is not HOST:PORT"));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
  for (const GrpcService& service : options.services) builder.RegisterService(service.service);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);
  if (options.max_streams > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  }
  if (options.memory_bytes > 0) {
    builder.SetResourceQuota(grpc::ResourceQuota().Resize(options.memory_bytes));
  }
  // Otherwise two processes could listen on one port and share its calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  SetKeepalive(builder);
  builder.SetOption(std::make_unique<ReflectionOption>(options.reflection));

  auto impl = std::make_unique<Impl>();
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || port <= 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.address,
                                               ": is the port taken by another process?"));
  }
  impl->port = static_cast<uint16_t>(port);
  impl->address = absl::StrCat(options.address.substr(0, colon), ":", port);
  impl->shutdown_timeout = options.shutdown_timeout;
  for (const GrpcService& service : options.services) impl->names.push_back(service.name);
  impl->SetServing(false);
  return GrpcServer(std::move(impl));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::GrpcServer(GrpcServer&&) noexcept = default;

GrpcServer& GrpcServer::operator=(GrpcServer&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

GrpcServer::~GrpcServer() {
  if (impl_ != nullptr) Shutdown(impl_->shutdown_timeout);
}

uint16_t GrpcServer::port() const { return impl_->port; }
const std::string& GrpcServer::address() const { return impl_->address; }
void GrpcServer::SetServing(bool serving) { impl_->SetServing(serving); }

void GrpcServer::Shutdown(Duration timeout) {
  impl_->SetServing(false);
  impl_->server->Shutdown(std::chrono::system_clock::now() +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
}

}  // namespace switchyard::runtime
