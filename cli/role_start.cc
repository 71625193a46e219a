#include "cli/role_start.h"

#include <sched.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/transport_choice.h"
#include "coordinator/coordinator_server.h"
#include "expert_service/expert_host_server.h"
#include "gateway/gateway_server.h"
#include "kernels/base/numerics.h"
#include "kernels/device/make_device.h"
#include "router_service/router_server.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"

namespace switchyard::cli {
namespace {

std::string ListenAddress(const RoleOptions& options) {
  return absl::StrCat(options.host, ":", options.port);
}

std::string NameOf(const RoleOptions& options) {
  return options.name.empty() ? options.kind : options.name;
}

// What a role computes on. The device is the role's own, so that its roles may be several in a
// process.
struct RoleDevice {
  std::shared_ptr<kernels::ThreadPool> pool;
  std::unique_ptr<kernels::Device> device;
};

absl::StatusOr<RoleDevice> MakeRoleDevice(const RoleOptions& options,
                                          const RoleEnvironment& environment) {
  ASSIGN_OR_RETURN(auto device, kernels::MakeDevice(options.device, *environment.pool));
  return RoleDevice{environment.pool, std::move(device)};
}

class CoordinatorRole : public RunningRole {
 public:
  explicit CoordinatorRole(coordinator::Coordinator coordinator)
      : coordinator_(std::move(coordinator)) {}
  uint16_t port() const override { return coordinator_.port(); }
  absl::Status WaitReady(TimePoint) override { return absl::OkStatus(); }
  void Drain(TimePoint) override {}

 private:
  coordinator::Coordinator coordinator_;
};

class ExpertHostRole : public RunningRole {
 public:
  ExpertHostRole(expert::ExpertHost host, RoleDevice device)
      : device_(std::move(device)), host_(std::move(host)) {}
  uint16_t port() const override { return host_.port(); }
  absl::Status WaitReady(TimePoint) override { return absl::OkStatus(); }
  void Drain(TimePoint deadline) override {
    if (const absl::Status status = host_.Drain(deadline); !status.ok()) {
      LogWarning() << "leaving before the experts have moved: " << status.message();
    }
  }

 private:
  RoleDevice device_;
  expert::ExpertHost host_;
};

class RouterRole : public RunningRole {
 public:
  RouterRole(router::RouterServer router, RoleDevice device)
      : device_(std::move(device)), router_(std::move(router)) {}
  uint16_t port() const override { return router_.port(); }
  absl::Status WaitReady(TimePoint deadline) override { return router_.WaitReady(deadline); }
  void Drain(TimePoint deadline) override { router_.Drain(deadline); }

 private:
  RoleDevice device_;
  router::RouterServer router_;
};

class GatewayRole : public RunningRole {
 public:
  explicit GatewayRole(gateway::GatewayServer gateway) : gateway_(std::move(gateway)) {}
  uint16_t port() const override { return gateway_.port(); }
  absl::Status WaitReady(TimePoint deadline) override {
    while (!gateway_.ready()) {
      if (Clock::Real().Now() >= deadline) {
        return absl::DeadlineExceededError("no router worker is ready");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return absl::OkStatus();
  }
  void Drain(TimePoint deadline) override {
    const Duration grace = std::max(deadline - Clock::Real().Now(), Duration::zero());
    if (!gateway_.Drain(grace)) LogWarning() << "requests are cut off: the drain time is over";
  }

 private:
  gateway::GatewayServer gateway_;
};

absl::StatusOr<std::unique_ptr<RunningRole>> StartCoordinator(const RoleOptions& options) {
  coordinator::CoordinatorOptions role;
  role.address = ListenAddress(options);
  role.replicas = static_cast<uint32_t>(options.replicas);
  role.min_expert_hosts = static_cast<uint32_t>(options.expert_hosts);
  if (const auto numerics = kernels::ParseNumericsClass(options.dtype)) {
    role.numerics = static_cast<v1::Numerics>(*numerics);
  }
  ASSIGN_OR_RETURN(auto started, coordinator::Coordinator::Start(role));
  return std::make_unique<CoordinatorRole>(std::move(started));
}

absl::StatusOr<std::unique_ptr<RunningRole>> StartExpertHost(const RoleOptions& options,
                                                             const RoleEnvironment& environment) {
  expert::ExpertHostOptions role;
  role.name = NameOf(options);
  role.model_folder = options.model;
  role.coordinator_address = options.coordinator;
  role.listen_address = ListenAddress(options);
  role.advertised_host = options.advertise;
  ASSIGN_OR_RETURN(role.transport, ChooseTransport(options, environment.network));
  ASSIGN_OR_RETURN(RoleDevice device, MakeRoleDevice(options, environment));
  role.device = device.device.get();
  ASSIGN_OR_RETURN(auto started, expert::ExpertHost::Start(std::move(role)));
  return std::make_unique<ExpertHostRole>(std::move(started), std::move(device));
}

absl::StatusOr<std::unique_ptr<RunningRole>> StartRouter(const RoleOptions& options,
                                                         const RoleEnvironment& environment) {
  router::RouterOptions role;
  role.name = NameOf(options);
  role.model_folder = options.model;
  role.coordinator_address = options.coordinator;
  role.listen_address = ListenAddress(options);
  role.advertised_host = options.advertise;
  role.stages = options.stages;
  role.prefill_chunk = options.prefill_chunk;
  role.kv_tokens = options.kv_tokens;
  role.draft_tokens = options.num_speculative_tokens;
  ASSIGN_OR_RETURN(role.transport, ChooseTransport(options, environment.network));
  ASSIGN_OR_RETURN(RoleDevice device, MakeRoleDevice(options, environment));
  role.device = device.device.get();
  ASSIGN_OR_RETURN(auto started, router::RouterServer::Start(std::move(role)));
  return std::make_unique<RouterRole>(std::move(started), std::move(device));
}

absl::StatusOr<std::unique_ptr<RunningRole>> StartGateway(const RoleOptions& options) {
  gateway::GatewayOptions role;
  role.model_folder = options.model;
  role.served_model_name = options.served_model_name;
  role.host = options.host;
  role.port = options.port;
  if (options.grpc_port != 0) role.grpc_port = options.grpc_port;
  role.coordinator_address = options.coordinator;
  ASSIGN_OR_RETURN(role.api_keys,
                   gateway::LoadApiKeys(options.api_key_file, getenv("SWITCHYARD_API_KEYS")));
  ASSIGN_OR_RETURN(auto started, gateway::GatewayServer::Start(std::move(role)));
  return std::make_unique<GatewayRole>(std::move(started));
}

}  // namespace

std::shared_ptr<kernels::ThreadPool> MakeComputeThreads(int threads) {
  if (threads == 0) {
    cpu_set_t allowed;
    threads = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  }
  return std::make_shared<kernels::ThreadPool>(threads);
}

absl::StatusOr<std::unique_ptr<RunningRole>> StartRole(const RoleOptions& options,
                                                       const RoleEnvironment& environment) {
  if (options.kind == "coordinator") return StartCoordinator(options);
  if (options.coordinator.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("role ", options.kind, " needs --coordinator HOST:PORT"));
  }
  if (options.model.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("role ", options.kind, " needs --model"));
  }
  if (options.kind == "expert-host") return StartExpertHost(options, environment);
  if (options.kind == "router") return StartRouter(options, environment);
  return StartGateway(options);
}

}  // namespace switchyard::cli
