#include "cli/local_cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/role.h"
#include "cli/role_start.h"
#include "cli/supervisor.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/model/checkpoint.h"

namespace switchyard::cli {
namespace {

constexpr Duration kStartLimit = std::chrono::minutes(30);
constexpr Duration kStartStep = std::chrono::milliseconds(100);  // between looks at all processes
constexpr Duration kEndTime = std::chrono::seconds(10);          // of a process that has drained

// The options of every role of the layout, in the order in which they start.
class RolePlan {
 public:
  RolePlan(LayoutOptions layout, GatewayFlags gateway)
      : layout_(std::move(layout)), gateway_(std::move(gateway)) {}

  RoleOptions Coordinator() const {
    RoleOptions role = Base("coordinator", "coordinator");
    role.replicas = layout_.replicas;
    role.expert_hosts = layout_.expert_hosts;
    role.dtype = layout_.dtype;
    return role;
  }
  RoleOptions ExpertHost(int index) const {
    RoleOptions role = Base("expert-host", absl::StrCat("expert-host-", index));
    role.device = layout_.device;
    return role;
  }
  RoleOptions Router(int index) const {
    RoleOptions role = Base("router", absl::StrCat("router-", index));
    role.device = layout_.device;
    role.stages = layout_.stages;
    role.prefill_chunk = layout_.prefill_chunk;
    role.kv_tokens = layout_.kv_tokens;
    role.num_speculative_tokens = layout_.num_speculative_tokens;
    return role;
  }
  RoleOptions Gateway() const {
    RoleOptions role = Base("gateway", "gateway");
    role.host = gateway_.host;
    role.port = gateway_.port;
    role.grpc_port = gateway_.grpc_port;
    role.api_key_file = gateway_.api_key_file;
    role.served_model_name = gateway_.served_model_name;
    return role;
  }

  void SetCoordinator(uint16_t port) { coordinator_ = absl::StrCat("127.0.0.1:", port); }
  const std::string& coordinator() const { return coordinator_; }
  const LayoutOptions& layout() const { return layout_; }
  bool with_gateway() const { return gateway_.start; }

 private:
  RoleOptions Base(std::string kind, std::string name) const {
    RoleOptions role;
    role.kind = std::move(kind);
    role.name = std::move(name);
    role.model = layout_.model;
    role.coordinator = coordinator_;
    role.transport = layout_.transport;
    role.threads = layout_.threads;
    role.json_logs = layout_.json_logs;
    return role;
  }

  const LayoutOptions layout_;
  const GatewayFlags gateway_;
  std::string coordinator_;
};

std::vector<std::string> CommandLine(const RoleOptions& role) {
  std::vector<std::string> line = {"role",
                                   role.kind,
                                   "--name",
                                   role.name,
                                   "--host",
                                   role.host,
                                   "--port",
                                   absl::StrCat(role.port),
                                   "--grpc-port",
                                   absl::StrCat(role.grpc_port),
                                   "--transport",
                                   role.transport,
                                   "--device",
                                   role.device,
                                   "--threads",
                                   absl::StrCat(role.threads),
                                   "--replicas",
                                   absl::StrCat(role.replicas),
                                   "--expert-hosts",
                                   absl::StrCat(role.expert_hosts),
                                   "--dtype",
                                   role.dtype,
                                   "--stages",
                                   absl::StrCat(role.stages),
                                   "--prefill-chunk",
                                   absl::StrCat(role.prefill_chunk),
                                   "--kv-tokens",
                                   absl::StrCat(role.kv_tokens),
                                   "--num-speculative-tokens",
                                   absl::StrCat(role.num_speculative_tokens)};
  const auto add = [&line](const char* flag, const std::string& value) {
    if (value.empty()) return;
    line.push_back(flag);
    line.push_back(value);
  };
  add("--model", role.model);
  add("--coordinator", role.coordinator);
  add("--api-key-file", role.api_key_file);
  add("--served-model-name", role.served_model_name);
  if (role.json_logs) line.push_back("--json-logs");
  return line;
}

// Every role a supervised process.
class ProcessCluster : public LocalCluster {
 public:
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(RolePlan plan) {
    auto cluster = std::unique_ptr<ProcessCluster>(new ProcessCluster(std::move(plan)));
    RETURN_IF_ERROR(cluster->StartAll());
    return cluster;
  }
  ~ProcessCluster() override { Stop(Duration::zero()); }

  std::string coordinator_address() const override { return plan_.coordinator(); }
  std::vector<std::string> router_addresses() const override { return router_addresses_; }
  uint16_t gateway_port() const override { return gateway_port_; }

  void Stop(Duration grace) override {
    while (!processes_.empty()) {
      // A drained process has to end, too; a role counts its drain time itself.
      processes_.back()->Stop(grace > Duration::zero() ? grace + kEndTime : grace);
      processes_.pop_back();
    }
  }

 private:
  explicit ProcessCluster(RolePlan plan) : plan_(std::move(plan)) {}

  SupervisedProcess& Launch(const RoleOptions& role) {
    processes_.push_back(std::make_unique<SupervisedProcess>(role.name, CommandLine(role)));
    return *processes_.back();
  }

  // What the process says when it is ready. An error as soon as any process has failed: a router
  // worker waits for experts as long as it takes.
  absl::StatusOr<std::string> AwaitLine(SupervisedProcess& process) {
    const TimePoint limit = Clock::Real().Now() + kStartLimit;
    while (true) {
      const TimePoint now = Clock::Real().Now();
      absl::StatusOr<std::string> line = process.WaitReady(std::min(now + kStartStep, limit));
      if (now >= limit || !absl::IsDeadlineExceeded(line.status())) return line;
      for (const auto& other : processes_) RETURN_IF_ERROR(other->start_failure());
    }
  }

  // Waits for the role; a later restart takes the same port.
  absl::StatusOr<uint16_t> AwaitPort(SupervisedProcess& process, RoleOptions role) {
    ASSIGN_OR_RETURN(const std::string line, AwaitLine(process));
    uint32_t port = 0;
    if (!absl::SimpleAtoi(line, &port) || port == 0 || port > 65535) {
      return absl::InternalError(absl::StrCat(role.name, " reported the port \"", line, "\""));
    }
    role.port = static_cast<uint16_t>(port);
    process.SetRestartArguments(CommandLine(role));
    return role.port;
  }

  absl::Status StartAll() {
    const RoleOptions coordinator = plan_.Coordinator();
    ASSIGN_OR_RETURN(const uint16_t port, AwaitPort(Launch(coordinator), coordinator));
    plan_.SetCoordinator(port);
    for (int i = 0; i < plan_.layout().expert_hosts; ++i) Launch(plan_.ExpertHost(i));
    std::vector<SupervisedProcess*> routers;
    for (int i = 0; i < plan_.layout().router_workers; ++i) {
      routers.push_back(&Launch(plan_.Router(i)));
    }
    for (int i = 0; i < plan_.layout().router_workers; ++i) {
      ASSIGN_OR_RETURN(const uint16_t router, AwaitPort(*routers[i], plan_.Router(i)));
      router_addresses_.push_back(absl::StrCat("127.0.0.1:", router));
    }
    if (!plan_.with_gateway()) return absl::OkStatus();
    const RoleOptions gateway = plan_.Gateway();
    ASSIGN_OR_RETURN(gateway_port_, AwaitPort(Launch(gateway), gateway));
    return absl::OkStatus();
  }

  RolePlan plan_;
  std::vector<std::unique_ptr<SupervisedProcess>> processes_;  // in the order of their start
  std::vector<std::string> router_addresses_;
  uint16_t gateway_port_ = 0;
};

// Every role in this process, on shared compute threads.
class InProcessCluster : public LocalCluster {
 public:
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(RolePlan plan) {
    auto cluster = std::unique_ptr<InProcessCluster>(new InProcessCluster(std::move(plan)));
    RETURN_IF_ERROR(cluster->StartAll());
    return cluster;
  }
  ~InProcessCluster() override { Stop(Duration::zero()); }

  std::string coordinator_address() const override { return plan_.coordinator(); }
  std::vector<std::string> router_addresses() const override { return router_addresses_; }
  uint16_t gateway_port() const override { return gateway_port_; }

  void Stop(Duration grace) override {
    while (!roles_.empty()) {
      if (grace > Duration::zero()) roles_.back()->Drain(Clock::Real().Now() + grace);
      roles_.pop_back();
    }
  }

 private:
  explicit InProcessCluster(RolePlan plan)
      : plan_(std::move(plan)),
        environment_{MakeComputeThreads(plan_.layout().threads),
                     std::make_shared<transport::LoopbackNetwork>()} {}

  absl::StatusOr<uint16_t> Launch(const RoleOptions& role) {
    ASSIGN_OR_RETURN(auto started, StartRole(role, environment_));
    const uint16_t port = started->port();
    roles_.push_back(std::move(started));
    return port;
  }

  absl::Status StartAll() {
    ASSIGN_OR_RETURN(const uint16_t port, Launch(plan_.Coordinator()));
    plan_.SetCoordinator(port);
    for (int i = 0; i < plan_.layout().expert_hosts; ++i) {
      RETURN_IF_ERROR(Launch(plan_.ExpertHost(i)).status());
    }
    const size_t first_router = roles_.size();
    for (int i = 0; i < plan_.layout().router_workers; ++i) {
      ASSIGN_OR_RETURN(const uint16_t router, Launch(plan_.Router(i)));
      router_addresses_.push_back(absl::StrCat("127.0.0.1:", router));
    }
    if (plan_.with_gateway()) {
      ASSIGN_OR_RETURN(gateway_port_, Launch(plan_.Gateway()));
    }
    for (size_t i = first_router; i < roles_.size(); ++i) {
      RETURN_IF_ERROR(roles_[i]->WaitReady(Clock::Real().Now() + kStartLimit));
    }
    return absl::OkStatus();
  }

  RolePlan plan_;
  RoleEnvironment environment_;
  std::vector<std::unique_ptr<RunningRole>> roles_;  // in the order of their start
  std::vector<std::string> router_addresses_;
  uint16_t gateway_port_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(const LayoutOptions& layout,
                                                                  const GatewayFlags& gateway) {
  RETURN_IF_ERROR(CheckLayout(layout));
  LayoutOptions resolved = layout;
  if (layout.dtype == "auto") {
    ASSIGN_OR_RETURN(const auto checkpoint, model::Checkpoint::Open(layout.model));
    resolved.dtype = checkpoint.spec().bfloat16_weights ? "bf16" : "fp32";
  }
  RolePlan plan(std::move(resolved), gateway);
  return layout.in_process ? InProcessCluster::Start(std::move(plan))
                           : ProcessCluster::Start(std::move(plan));
}

}  // namespace switchyard::cli
