#include "expert_service/expert_host_server.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "expert_service/expert_loader.h"
#include "proto/coordinator.grpc.pb.h"
#include "proto/expert_host.grpc.pb.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/base/version.h"
#include "services/model/checkpoint.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/grpc_status.h"
#include "services/runtime/identity.h"
#include "services/runtime/membership.h"
#include "services/runtime/offered_classes.h"

namespace switchyard::expert {
namespace {

// Limits on handlers whose caller set no nearer deadline.
constexpr Duration kOpenLimit = std::chrono::seconds(2);
constexpr Duration kLoadLimit = std::chrono::minutes(30);
constexpr Duration kControlCallLimit = std::chrono::seconds(5);
// The host counts as busy for this long after its last batch.
constexpr Duration kBusyWindow = std::chrono::milliseconds(100);
// For router workers to hear of an epoch that this host has heard of.
constexpr Duration kTakeUpTime = std::chrono::milliseconds(200);

void SetLayers(const Experts& experts, google::protobuf::RepeatedPtrField<v1::LayerExperts>* out) {
  out->Clear();
  for (const auto& [id, weights] : experts) {
    if (out->empty() || out->rbegin()->layer() != id.layer) out->Add()->set_layer(id.layer);
    out->rbegin()->add_experts(id.expert);
  }
}

std::vector<ExpertId> ToIds(const google::protobuf::RepeatedPtrField<v1::LayerExperts>& layers) {
  std::vector<ExpertId> ids;
  for (const v1::LayerExperts& layer : layers) {
    for (const uint32_t expert : layer.experts()) ids.push_back({layer.layer(), expert});
  }
  return ids;
}

std::vector<uint32_t> ExpertsPerLayer(const model::ModelSpec& spec) {
  std::vector<uint32_t> experts;
  for (int64_t layer = 0; layer < spec.Blocks(); ++layer) {
    const auto& router = spec.Block(layer).ffn.router;
    experts.push_back(router ? static_cast<uint32_t>(router->experts) : 0);
  }
  return experts;
}

uint64_t BytesPerExpert(const model::ModelSpec& spec, kernels::NumericsClass numerics) {
  const std::vector<int64_t> layers = spec.MoeBlocks();
  if (layers.empty()) return 0;
  const model::FfnSpec& ffn = spec.Block(layers.front()).ffn;
  const uint64_t matrices = ffn.gated ? 3 : 2;
  return matrices * spec.hidden * ffn.intermediate * SizeOf(WireType(numerics));
}

bool SameModel(const v1::ModelIdentity& a, const v1::ModelIdentity& b) {
  return a.digest() == b.digest() && a.weights_version() == b.weights_version() &&
         a.numerics() == b.numerics();
}

std::string Describe(const v1::ModelIdentity& model) {
  return absl::StrCat("model ", absl::Hex(model.digest()), " version ", model.weights_version(),
                      " class ", v1::Numerics_Name(model.numerics()));
}

}  // namespace

struct ExpertHost::Impl final : public v1::ExpertHost::Service {
  Impl(ExpertHostOptions opts, model::Checkpoint ckpt)
      : options(std::move(opts)),
        checkpoint(std::move(ckpt)),
        experts_per_layer(ExpertsPerLayer(checkpoint.spec())) {}

  absl::Status Start();
  v1::RegisterRequest Registration() const;
  absl::Status StartLoop(const v1::Member& member);
  void TakeIncarnation();
  absl::Status WaitReady(TimePoint deadline);
  absl::Status CheckOrder(uint64_t incarnation, const std::vector<ExpertId>& ids) const;
  void Report(v1::HeartbeatRequest& heartbeat);
  bool Busy() const;

  grpc::Status OpenChannel(grpc::ServerContext* context, const v1::OpenChannelRequest* request,
                           v1::OpenChannelResponse* response) override;
  grpc::Status LoadExperts(grpc::ServerContext* context, const v1::LoadExpertsRequest* request,
                           v1::LoadExpertsResponse* response) override;
  grpc::Status UnloadExperts(grpc::ServerContext* context, const v1::UnloadExpertsRequest* request,
                             v1::UnloadExpertsResponse* response) override;
  grpc::Status Status(grpc::ServerContext* context, const v1::ExpertHostStatusRequest* request,
                      v1::ExpertHostStatus* response) override;

  const ExpertHostOptions options;
  const model::Checkpoint checkpoint;
  const std::vector<uint32_t> experts_per_layer;
  ExpertStore store;
  v1::ModelIdentity identity;  // set before `ready`

  std::mutex incarnation_mutex;  // the loop hears of incarnations in their order

  std::mutex mutex;
  std::condition_variable became_ready;
  bool ready = false;
  std::atomic<bool> draining{false};
  ExpertLoopCounters reported;  // what the last heartbeat told; its thread only

  // Destroyed in reverse, each before what it calls into.
  std::unique_ptr<ExpertLoop> loop;
  std::unique_ptr<ExpertLoader> loader;
  std::unique_ptr<runtime::MembershipAgent> agent;
  std::unique_ptr<runtime::GrpcServer> server;
};

absl::StatusOr<ExpertHost> ExpertHost::Start(ExpertHostOptions options) {
  ASSIGN_OR_RETURN(model::Checkpoint checkpoint, model::Checkpoint::Open(options.model_folder));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(checkpoint));
  RETURN_IF_ERROR(impl->Start());
  return ExpertHost(std::move(impl));
}

ExpertHost::ExpertHost(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExpertHost::ExpertHost(ExpertHost&&) noexcept = default;
ExpertHost& ExpertHost::operator=(ExpertHost&&) noexcept = default;
ExpertHost::~ExpertHost() = default;

uint16_t ExpertHost::port() const { return impl_->server->port(); }

absl::Status ExpertHost::Drain(TimePoint deadline) {
  impl_->server->SetServing(false);
  impl_->draining.store(true);
  impl_->agent->HeartbeatNow();
  const uint64_t id = impl_->agent->member().id();
  const auto not_needed = [id](const runtime::PlacementView& view) {
    return !view.HostIndex(id) || view.router_workers().empty();
  };
  RETURN_IF_ERROR(impl_->agent->WaitFor(not_needed, deadline - Clock::Real().Now()).status());
  // Router workers take the new epoch up between layers: what they sent before is answered first.
  const TimePoint told = Clock::Real().Now();
  while (Clock::Real().Now() < std::min(told + kTakeUpTime, deadline) || impl_->Busy()) {
    if (Clock::Real().Now() >= deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return absl::OkStatus();
}

absl::Status ExpertHost::Impl::Start() {
  ASSIGN_OR_RETURN(auto started, runtime::GrpcServer::Start(
                                     {.address = options.listen_address,
                                      .services = {{v1::ExpertHost::service_full_name(), this}}}));
  server = std::make_unique<runtime::GrpcServer>(std::move(started));
  runtime::MembershipOptions membership;
  membership.coordinator_address = options.coordinator_address;
  membership.registration = Registration();
  membership.report = [this](v1::HeartbeatRequest& heartbeat) { Report(heartbeat); };
  membership.on_new_incarnation = [this](uint64_t) {
    // A host that is still starting takes the present incarnation when it is ready.
    if (WaitReady(Clock::Real().Now() + kControlCallLimit).ok()) TakeIncarnation();
  };
  agent = std::make_unique<runtime::MembershipAgent>(std::move(membership));
  ASSIGN_OR_RETURN(identity, agent->WaitRegistered(options.registration_timeout));
  const v1::Member member = agent->member();
  RETURN_IF_ERROR(StartLoop(member));
  {
    std::lock_guard lock(mutex);
    ready = true;
  }
  became_ready.notify_all();
  if (agent->member().incarnation() != member.incarnation()) TakeIncarnation();
  server->SetServing(true);
  return absl::OkStatus();
}

v1::RegisterRequest ExpertHost::Impl::Registration() const {
  v1::RegisterRequest request;
  request.mutable_member()->set_name(options.name);
  request.mutable_member()->set_role(v1::ROLE_EXPERT_HOST);
  request.mutable_member()->set_control_address(
      options.advertised_host.empty() ? server->address()
                                      : absl::StrCat(options.advertised_host, ":", server->port()));
  request.set_software_version(kVersion);
  request.set_model_digest(checkpoint.digest());
  const model::ModelSpec& spec = checkpoint.spec();
  runtime::OfferClasses(spec.bfloat16_weights, *options.device, request);
  // A dense model has no experts; the coordinator asks for a size above 0 all the same.
  const uint64_t bytes = std::max<uint64_t>(1, BytesPerExpert(spec, kernels::NumericsClass::kFp32));
  request.set_bytes_per_expert(bytes);
  for (const int numerics : request.offered()) {  // the class is not known yet
    v1::ExpertSize* const size = request.add_expert_sizes();
    size->set_numerics(static_cast<v1::Numerics>(numerics));
    size->set_bytes(BytesPerExpert(spec, static_cast<kernels::NumericsClass>(numerics)));
  }
  uint64_t experts = 0;
  for (const int64_t layer : spec.MoeBlocks()) {
    request.add_moe_layers(static_cast<uint32_t>(layer));
    request.set_experts_per_layer(experts_per_layer[layer]);
    experts += experts_per_layer[layer];
  }
  request.set_memory_bytes(options.memory_bytes > 0 ? options.memory_bytes : experts * bytes);
  return request;
}

absl::Status ExpertHost::Impl::StartLoop(const v1::Member& member) {
  ExpertLoopOptions loop_options;
  loop_options.transport = [this, id = member.id()](uint64_t incarnation) {
    return options.transport(id, incarnation);
  };
  loop_options.member = member.id();
  loop_options.incarnation = member.incarnation();
  loop_options.model_digest = identity.digest();
  loop_options.weights_version = identity.weights_version();
  loop_options.numerics = static_cast<kernels::NumericsClass>(identity.numerics());
  loop_options.hidden = static_cast<uint32_t>(checkpoint.spec().hidden);
  loop_options.experts_per_layer = experts_per_layer;
  loop_options.store = &store;
  loop_options.device = options.device;
  ASSIGN_OR_RETURN(loop, ExpertLoop::Start(std::move(loop_options)));
  loader = std::make_unique<ExpertLoader>(checkpoint,
                                          static_cast<kernels::NumericsClass>(identity.numerics()),
                                          store, [this] { return Busy(); });
  return absl::OkStatus();
}

// The loop becomes whoever the membership agent is now.
void ExpertHost::Impl::TakeIncarnation() {
  std::lock_guard lock(incarnation_mutex);
  const absl::Status reset =
      loop->Reset(agent->member().incarnation(), Clock::Real().Now() + kControlCallLimit);
  if (!reset.ok()) LogError() << "no data path after a lost lease yet: " << reset.message();
}

absl::Status ExpertHost::Impl::WaitReady(TimePoint deadline) {
  std::unique_lock lock(mutex);
  if (became_ready.wait_until(lock, deadline, [this] { return ready; })) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(options.name, " is starting and not registered yet"));
}

bool ExpertHost::Impl::Busy() const {
  return Clock::Real().Now() - loop->Counters().last_batch < kBusyWindow;
}

void ExpertHost::Impl::Report(v1::HeartbeatRequest& heartbeat) {
  SetLayers(*store.Snapshot(), heartbeat.mutable_loaded());
  heartbeat.set_draining(draining.load());
  {
    std::lock_guard lock(mutex);
    if (!ready) return;
  }
  ExpertLoopCounters now = loop->Counters();
  for (size_t layer = 0; layer < now.expert_rows.size(); ++layer) {
    if (now.expert_rows[layer].empty()) continue;
    v1::ExpertLoad* load = heartbeat.add_load();
    load->set_layer(static_cast<uint32_t>(layer));
    for (size_t expert = 0; expert < now.expert_rows[layer].size(); ++expert) {
      const uint64_t before =
          reported.expert_rows.empty() ? 0 : reported.expert_rows[layer][expert];
      load->add_rows(now.expert_rows[layer][expert] - before);
    }
  }
  const double busy_seconds = std::chrono::duration<double>(now.busy - reported.busy).count();
  if (busy_seconds > 0) {
    heartbeat.set_rows_per_second((now.rows_done - reported.rows_done) / busy_seconds);
  }
  reported = std::move(now);
}

grpc::Status ExpertHost::Impl::OpenChannel(grpc::ServerContext* context,
                                           const v1::OpenChannelRequest* request,
                                           v1::OpenChannelResponse* response) {
  const TimePoint deadline = Clock::Real().Now() + runtime::TimeLeft(*context, kOpenLimit);
  if (const absl::Status status = WaitReady(deadline); !status.ok()) {
    return runtime::ToGrpc(status);
  }
  if (request->software_version() != kVersion || !SameModel(request->model(), identity)) {
    return runtime::ToGrpc(absl::FailedPreconditionError(
        absl::StrCat(options.name, " runs version ", kVersion, ", ", Describe(identity),
                     "; the router worker version ", request->software_version(), ", ",
                     Describe(request->model()))));
  }
  const v1::SlotLayout& layout = request->layout();
  const auto address = loop->OpenChannel(
      {request->router().member(), request->router().incarnation(), request->router().address()},
      {layout.rows(), layout.row_bytes(), layout.metadata_bytes(), layout.slots()},
      request->nonce(), deadline);
  if (!address.ok()) return runtime::ToGrpc(address.status());
  response->mutable_host()->set_member(address->member);
  response->mutable_host()->set_incarnation(address->incarnation);
  response->mutable_host()->set_address(address->address);
  return grpc::Status::OK;
}

// An order for another life of this host, or for experts that the model does not have.
absl::Status ExpertHost::Impl::CheckOrder(uint64_t incarnation,
                                          const std::vector<ExpertId>& ids) const {
  if (incarnation != agent->member().incarnation()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the order is for another incarnation of ", options.name));
  }
  for (const ExpertId& id : ids) {
    if (id.layer >= experts_per_layer.size() || id.expert >= experts_per_layer[id.layer]) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model has no layer ", id.layer, ", expert ", id.expert));
    }
  }
  return absl::OkStatus();
}

grpc::Status ExpertHost::Impl::LoadExperts(grpc::ServerContext* context,
                                           const v1::LoadExpertsRequest* request,
                                           v1::LoadExpertsResponse* response) {
  const TimePoint deadline = Clock::Real().Now() + runtime::TimeLeft(*context, kLoadLimit);
  const std::vector<ExpertId> ids = ToIds(request->experts());
  absl::Status status = WaitReady(deadline);
  if (status.ok()) status = CheckOrder(request->incarnation(), ids);
  if (status.ok())
    status = loader->Load(ids, deadline, [context] { return context->IsCancelled(); });
  SetLayers(*store.Snapshot(), response->mutable_loaded());
  if (!status.ok()) LogWarning() << "loading experts: " << status.message();
  return runtime::ToGrpc(status);
}

grpc::Status ExpertHost::Impl::UnloadExperts(grpc::ServerContext* context,
                                             const v1::UnloadExpertsRequest* request,
                                             v1::UnloadExpertsResponse* response) {
  const std::vector<ExpertId> ids = ToIds(request->experts());
  absl::Status status =
      WaitReady(Clock::Real().Now() + runtime::TimeLeft(*context, kControlCallLimit));
  if (status.ok()) status = CheckOrder(request->incarnation(), ids);
  if (status.ok()) store.Erase(ids);
  SetLayers(*store.Snapshot(), response->mutable_loaded());
  return runtime::ToGrpc(status);
}

grpc::Status ExpertHost::Impl::Status(grpc::ServerContext* context,
                                      const v1::ExpertHostStatusRequest*,
                                      v1::ExpertHostStatus* response) {
  const absl::Status status =
      WaitReady(Clock::Real().Now() + runtime::TimeLeft(*context, kControlCallLimit));
  if (!status.ok()) return runtime::ToGrpc(status);
  *response->mutable_member() = agent->member();
  *response->mutable_model() = identity;
  SetLayers(*store.Snapshot(), response->mutable_loaded());
  const ExpertLoopCounters counters = loop->Counters();
  response->set_rows_done(counters.rows_done);
  response->set_frames_done(counters.frames_done);
  response->set_frames_refused(counters.frames_refused);
  response->set_rejected_frames(counters.rejected_frames);
  response->set_late_messages(counters.late_messages);
  for (const std::string& lane : counters.lanes) response->add_lanes(lane);
  return grpc::Status::OK;
}

}  // namespace switchyard::expert
