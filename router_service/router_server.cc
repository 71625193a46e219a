#include "router_service/router_server.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/coordinator.pb.h"
#include "router_service/channel_requester.h"
#include "router_service/engine.h"
#include "router_service/kv_budget.h"
#include "router_service/remote_dispatcher.h"
#include "router_service/router_worker_service.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/base/version.h"
#include "services/model/checkpoint.h"
#include "services/model/progress_bar.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/membership.h"
#include "services/runtime/offered_classes.h"

namespace switchyard::router {
namespace {

// How often health follows the dispatcher's view of the experts.
constexpr Duration kReadinessInterval = std::chrono::milliseconds(20);

// How long a stopping server waits for calls that have been told to end.
constexpr Duration kShutdownTimeout = std::chrono::seconds(1);

// A step computes so many rows more for each sequence.
constexpr int64_t kMaxDraftTokens = 8;

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

uint32_t MostExpertsPerRow(const model::ModelSpec& spec) {
  int64_t top_k = 1;
  for (const int64_t layer : spec.MoeBlocks()) {
    top_k = std::max(top_k, spec.Block(layer).ffn.router->top_k);
  }
  return static_cast<uint32_t>(top_k);
}

absl::Status CheckOptions(const RouterOptions& options) {
  const auto check = [](bool valid, const char* name, int64_t value) {
    return valid ? absl::OkStatus()
                 : absl::InvalidArgumentError(absl::StrCat(name, ": ", value, " is out of range"));
  };
  RETURN_IF_ERROR(check(options.stages >= 1, "stages", options.stages));
  RETURN_IF_ERROR(check(options.prefill_chunk >= 1, "prefill_chunk", options.prefill_chunk));
  RETURN_IF_ERROR(check(options.max_batch_rows >= 1, "max_batch_rows", options.max_batch_rows));
  RETURN_IF_ERROR(check(options.draft_tokens >= 0 && options.draft_tokens <= kMaxDraftTokens,
                        "num_speculative_tokens", options.draft_tokens));
  RETURN_IF_ERROR(check(options.kv_tokens >= 0, "kv_tokens", options.kv_tokens));
  return check(options.max_requests >= 1, "max_requests", options.max_requests);
}

}  // namespace

struct RouterServer::Impl {
  Impl(RouterOptions options_in, model::Checkpoint checkpoint_in)
      : options(std::move(options_in)), checkpoint(std::move(checkpoint_in)) {}
  ~Impl();

  absl::Status Start();
  absl::Status StartDispatcher();
  absl::Status StartEngine();
  v1::RegisterRequest Registration() const;
  void TakePlacement(std::shared_ptr<const runtime::PlacementView> placement);
  void TakeIncarnation(uint64_t incarnation);
  void Report(v1::HeartbeatRequest& heartbeat);
  void ReportStatus(v1::RouterWorkerStatus& status);
  void FollowReadiness();
  std::string DescribeMissing() const;

  const RouterOptions options;
  const model::Checkpoint checkpoint;
  v1::ModelIdentity identity;  // set once registered
  RouterWorkerService service;

  // The membership agent's threads call in before there is a dispatcher.
  std::mutex dispatcher_mutex;
  std::unique_ptr<RemoteDispatcher> dispatcher;

  std::unique_ptr<Engine> engine;
  std::unique_ptr<runtime::MembershipAgent> agent;
  std::unique_ptr<runtime::GrpcServer> server;

  mutable std::mutex readiness_mutex;
  mutable std::condition_variable readiness_changed;
  bool ready = false;
  bool draining = false;
  bool stopping = false;
  std::thread readiness;
};

absl::StatusOr<RouterServer> RouterServer::Start(RouterOptions options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(model::Checkpoint checkpoint, model::Checkpoint::Open(options.model_folder));
  if (options.draft_tokens > 0 && !checkpoint.spec().mtp) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_speculative_tokens: ", options.model_folder,
                     " has no block for multi-token prediction; leave the option out"));
  }
  auto impl = std::make_unique<Impl>(std::move(options), std::move(checkpoint));
  RETURN_IF_ERROR(impl->Start());
  return RouterServer(std::move(impl));
}

RouterServer::RouterServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RouterServer::RouterServer(RouterServer&&) noexcept = default;
RouterServer& RouterServer::operator=(RouterServer&&) noexcept = default;
RouterServer::~RouterServer() = default;

uint16_t RouterServer::port() const { return impl_->server->port(); }

absl::Status RouterServer::WaitReady(TimePoint deadline) const {
  std::unique_lock lock(impl_->readiness_mutex);
  if (impl_->readiness_changed.wait_until(lock, deadline, [this] { return impl_->ready; })) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat(impl_->options.name, " is not ready: ", impl_->DescribeMissing()));
}

void RouterServer::Drain(TimePoint deadline) {
  {
    std::lock_guard lock(impl_->readiness_mutex);
    impl_->draining = true;
  }
  impl_->server->SetServing(false);
  impl_->agent->HeartbeatNow();
  if (!impl_->engine->Drain(std::max(deadline - Clock::Real().Now(), Duration::zero()))) {
    LogWarning() << impl_->engine->Status().running
                 << " requests are cut off: the drain time is over";
  }
}

RouterServer::Impl::~Impl() {
  if (server != nullptr) server->Shutdown(kShutdownTimeout);
  {
    std::lock_guard lock(readiness_mutex);
    stopping = true;
  }
  readiness_changed.notify_all();
  if (readiness.joinable()) readiness.join();
  agent.reset();  // calls into what follows
  engine.reset();
}

absl::Status RouterServer::Impl::Start() {
  const std::string service_name = v1::RouterWorker::service_full_name();
  ASSIGN_OR_RETURN(auto started,
                   runtime::GrpcServer::Start({.address = options.listen_address,
                                               .services = {{service_name, &service}}}));
  server = std::make_unique<runtime::GrpcServer>(std::move(started));
  runtime::MembershipOptions membership;
  membership.coordinator_address = options.coordinator_address;
  membership.registration = Registration();
  membership.report = [this](v1::HeartbeatRequest& heartbeat) { Report(heartbeat); };
  membership.on_placement = [this](std::shared_ptr<const runtime::PlacementView> placement) {
    TakePlacement(std::move(placement));
  };
  membership.on_new_incarnation = [this](uint64_t incarnation) { TakeIncarnation(incarnation); };
  agent = std::make_unique<runtime::MembershipAgent>(std::move(membership));
  ASSIGN_OR_RETURN(identity, agent->WaitRegistered(options.registration_timeout));
  RETURN_IF_ERROR(StartDispatcher());
  RETURN_IF_ERROR(StartEngine());
  service.Open(*engine, [this](v1::RouterWorkerStatus& status) { ReportStatus(status); });
  readiness = std::thread([this] { FollowReadiness(); });
  return absl::OkStatus();
}

v1::RegisterRequest RouterServer::Impl::Registration() const {
  v1::RegisterRequest request;
  request.mutable_member()->set_name(options.name);
  request.mutable_member()->set_role(v1::ROLE_ROUTER_WORKER);
  request.mutable_member()->set_control_address(
      options.advertised_host.empty() ? server->address()
                                      : absl::StrCat(options.advertised_host, ":", server->port()));
  request.set_software_version(kVersion);
  request.set_model_digest(checkpoint.digest());
  const model::ModelSpec& spec = checkpoint.spec();
  runtime::OfferClasses(spec.bfloat16_weights, *options.device, request);
  for (const int64_t layer : spec.MoeBlocks()) {
    request.add_moe_layers(static_cast<uint32_t>(layer));
    request.set_experts_per_layer(static_cast<uint32_t>(spec.Block(layer).ffn.router->experts));
  }
  return request;
}

absl::Status RouterServer::Impl::StartDispatcher() {
  const v1::Member member = agent->member();
  RemoteDispatcherOptions dispatch;
  dispatch.transport = [make = options.transport, id = member.id()](uint64_t incarnation) {
    return make(id, incarnation);
  };
  dispatch.request_channel = GrpcChannelRequester(identity);
  dispatch.member = member.id();
  dispatch.incarnation = member.incarnation();
  dispatch.model_digest = identity.digest();
  dispatch.weights_version = identity.weights_version();
  dispatch.numerics = static_cast<kernels::NumericsClass>(identity.numerics());
  dispatch.hidden = static_cast<uint32_t>(checkpoint.spec().hidden);
  dispatch.top_k = MostExpertsPerRow(checkpoint.spec());
  if (checkpoint.spec().mtp && options.draft_tokens == 0) {
    dispatch.needed_layers = static_cast<uint32_t>(checkpoint.spec().layers.size());
  }
  ASSIGN_OR_RETURN(auto started, RemoteDispatcher::Start(std::move(dispatch)));
  std::lock_guard lock(dispatcher_mutex);
  dispatcher = std::move(started);
  // What came while there was none.
  if (agent->Latest() != nullptr) dispatcher->SetPlacement(agent->Latest());
  if (const uint64_t now = agent->member().incarnation(); now != member.incarnation()) {
    dispatcher->Reset(now);
  }
  return absl::OkStatus();
}

absl::Status RouterServer::Impl::StartEngine() {
  const model::ModelSpec& spec = checkpoint.spec();
  EngineOptions engine_options;
  engine_options.numerics = static_cast<kernels::NumericsClass>(identity.numerics());
  engine_options.stages = options.stages;
  engine_options.draft_tokens = options.draft_tokens;
  engine_options.kv_pages = options.kv_tokens > 0 ? PagesFor(options.kv_tokens)
                                                  : DefaultKvPages(spec, options.draft_tokens > 0,
                                                                   engine_options.numerics,
                                                                   options.device->memory_bytes());
  engine_options.max_requests = options.max_requests;
  engine_options.scheduler.max_batch_rows = std::max(options.max_batch_rows, options.prefill_chunk);
  engine_options.scheduler.prefill_chunk = options.prefill_chunk;
  engine_options.expert_timeout = options.expert_timeout;
  engine_options.prefix_seed = RandomSeed();
  model::ProgressBar bar(absl::StrCat("weights of ", options.name), stderr,
                         model::ProgressBar::IsTerminal(stderr));
  ASSIGN_OR_RETURN(engine,
                   Engine::Start(checkpoint, engine_options, *options.device, *dispatcher,
                                 [&bar](int64_t done, int64_t total) { bar.Update(done, total); }));
  LogInfo() << options.name << " runs class " << kernels::Name(engine_options.numerics)
            << " with KV for " << engine_options.kv_pages * kPagePositions << " tokens";
  return absl::OkStatus();
}

void RouterServer::Impl::TakePlacement(std::shared_ptr<const runtime::PlacementView> placement) {
  std::lock_guard lock(dispatcher_mutex);
  if (dispatcher != nullptr) dispatcher->SetPlacement(std::move(placement));
}

void RouterServer::Impl::TakeIncarnation(uint64_t incarnation) {
  std::lock_guard lock(dispatcher_mutex);
  if (dispatcher != nullptr) dispatcher->Reset(incarnation);
}

void RouterServer::Impl::Report(v1::HeartbeatRequest& heartbeat) {
  {
    std::lock_guard lock(readiness_mutex);
    heartbeat.set_draining(draining);
  }
  std::lock_guard lock(dispatcher_mutex);
  if (dispatcher == nullptr) return;
  heartbeat.set_oldest_epoch_in_use(
      std::min(heartbeat.oldest_epoch_in_use(), dispatcher->OldestEpochInUse()));
}

void RouterServer::Impl::ReportStatus(v1::RouterWorkerStatus& status) {
  const EngineStatus now = engine->Status();
  const DispatchCounters dispatch = dispatcher->Counters();
  *status.mutable_member() = agent->member();
  *status.mutable_model() = identity;
  status.set_running(static_cast<uint32_t>(now.running));
  status.set_waiting(static_cast<uint32_t>(now.waiting));
  status.set_kv_pages_used(now.kv_pages_used);
  status.set_kv_pages_total(now.kv_pages_total);
  status.set_prompt_tokens(now.prompt_tokens);
  status.set_generated_tokens(now.generated_tokens);
  status.set_draft_tokens(now.draft_tokens);
  status.set_accepted_draft_tokens(now.accepted_draft_tokens);
  status.set_preemptions(now.scheduler.preemptions);
  status.set_redispatched_assignments(dispatch.redispatched_assignments);
  status.set_rejected_frames(dispatch.rejected_frames);
  status.set_stale_frames(dispatch.stale_frames);
  status.set_late_messages(dispatch.late_messages);
  status.set_hosts_lost(dispatch.hosts_lost);
  status.set_prefix_cache_queries(now.scheduler.prefix_queries);
  status.set_prefix_cache_hits(now.scheduler.prefix_hits);
  if (const auto placement = agent->Latest()) status.set_epoch(placement->epoch());
  for (const std::string& lane : dispatch.lanes) status.add_lanes(lane);
  status.set_vocabulary(static_cast<uint32_t>(engine->limits().vocabulary));
  status.set_max_positions(static_cast<uint32_t>(engine->limits().max_positions));
  for (const int64_t token : checkpoint.spec().eos_tokens) {
    status.add_eos_token_ids(static_cast<int32_t>(token));
  }
  std::lock_guard lock(readiness_mutex);
  status.set_ready(ready && !draining);
}

// Health says SERVING while every expert can be reached and the worker does not drain.
void RouterServer::Impl::FollowReadiness() {
  std::unique_lock lock(readiness_mutex);
  while (!stopping) {
    const bool reachable = dispatcher->Ready();
    if (reachable != ready) {
      ready = reachable;
      LogInfo() << options.name << (ready ? " is ready" : " is not ready: ")
                << (ready ? "" : DescribeMissing());
      readiness_changed.notify_all();
    }
    if (!draining) server->SetServing(ready);
    readiness_changed.wait_for(lock, kReadinessInterval, [this] { return stopping; });
  }
}

std::string RouterServer::Impl::DescribeMissing() const {
  const std::shared_ptr<const runtime::PlacementView> placement = agent->Latest();
  if (placement == nullptr) return "the coordinator has published no placement yet";
  if (!placement->complete()) {
    return absl::StrCat("experts without an owner in epoch ", placement->epoch(), " of ",
                        placement->hosts().size(), " expert hosts");
  }
  return absl::StrCat("no data channel yet to every one of ", placement->hosts().size(),
                      " expert hosts");
}

}  // namespace switchyard::router
