#include "router_service/router_server.h"

#include <condition_variable>
#include <mutex>
#include <optional>

#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "proto/coordinator.grpc.pb.h"
#include "proto/router_worker.grpc.pb.h"
#include "router_service/testing/tiny_model.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"
#include "services/transport/loopback.h"

namespace switchyard::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds(60);

TimePoint Soon() { return Clock::Real().Now() + kPatience; }

// Admits everyone, and publishes an empty placement when told to: a dense model needs no host.
class FakeCoordinator : public v1::Coordinator::Service {
 public:
  FakeCoordinator() {
    auto server =
        runtime::GrpcServer::Start({.services = {{v1::Coordinator::service_full_name(), this}},
                                    .shutdown_timeout = milliseconds(100)});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = std::make_unique<runtime::GrpcServer>(*std::move(server));
  }
  ~FakeCoordinator() override { server_.reset(); }

  const std::string& address() const { return server_->address(); }

  void PublishPlacement() {
    std::lock_guard lock(mutex_);
    published_ = true;
    changed_.notify_all();
  }
  void Refuse(const std::string& why) {
    std::lock_guard lock(mutex_);
    refusal_ = why;
  }
  v1::RegisterRequest registration() {
    std::lock_guard lock(mutex_);
    return registration_;
  }
  bool WaitDraining() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return draining_; });
  }

 private:
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    std::lock_guard lock(mutex_);
    if (refusal_) return {grpc::StatusCode::FAILED_PRECONDITION, *refusal_};
    registration_ = *request;
    response->set_lease_ms(2000);
    response->mutable_model()->set_digest(request->model_digest());
    response->mutable_model()->set_weights_version(1);
    response->mutable_model()->set_numerics(v1::NUMERICS_FP32);
    response->set_coordinator(1);
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse*) override {
    std::lock_guard lock(mutex_);
    draining_ |= request->draining();
    changed_.notify_all();
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::Placement>* writer) override {
    std::unique_lock lock(mutex_);
    for (bool sent = false; !context->IsCancelled();) {
      changed_.wait_for(lock, milliseconds(10));
      if (!published_ || sent) continue;
      v1::Placement placement;
      placement.set_epoch(7);
      sent = writer->Write(placement);
    }
    return grpc::Status::CANCELLED;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool published_ = false;
  bool draining_ = false;
  std::optional<std::string> refusal_;
  v1::RegisterRequest registration_;
  std::unique_ptr<runtime::GrpcServer> server_;
};

class RouterServerTest : public ::testing::Test {
 protected:
  RouterOptions Options() {
    return {
        .name = "router-0",
        .model_folder = TinyDenseFolder(),
        .coordinator_address = coordinator_.address(),
        .transport = [this](uint64_t member,
                            uint64_t incarnation) { return network_.Start(member, incarnation); },
        .device = &device_,
        .kv_tokens = 1024,
        .registration_timeout = kPatience};
  }

  static v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    for (int32_t token = 1; token <= 20; ++token) request.add_prompt_ids(token);
    request.set_max_tokens(6);
    request.set_ignore_eos(true);
    request.set_logprobs(-1);
    request.set_prompt_logprobs(-1);
    return request;
  }

  static grpc::Status Generate(v1::RouterWorker::Stub& stub, int* tokens) {
    const auto context = runtime::NewContext(kPatience);
    const auto stream = stub.Generate(context.get(), Request());
    for (v1::GenerateResponse message; stream->Read(&message);) *tokens += message.token_ids_size();
    return stream->Finish();
  }

  static std::unique_ptr<v1::RouterWorker::Stub> StubOf(const RouterServer& server) {
    return v1::RouterWorker::NewStub(
        runtime::NewChannel("127.0.0.1:" + std::to_string(server.port())));
  }

  kernels::ThreadPool pool_{1};
  kernels::CpuDevice device_{pool_};
  transport::LoopbackNetwork network_;
  FakeCoordinator coordinator_;
};

TEST_F(RouterServerTest, RegistersServesAndDrains) {
  auto server = RouterServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  const v1::RegisterRequest registration = coordinator_.registration();
  EXPECT_EQ(registration.member().name(), "router-0");
  EXPECT_EQ(registration.member().role(), v1::ROLE_ROUTER_WORKER);
  EXPECT_EQ(registration.member().control_address(), "127.0.0.1:" + std::to_string(server->port()));
  ASSERT_EQ(registration.offered_size(), 2);
  EXPECT_EQ(registration.offered(0), v1::NUMERICS_BF16) << "the checkpoint's own type first";

  const absl::Status early = server->WaitReady(Clock::Real().Now() + milliseconds(50));
  EXPECT_TRUE(absl::IsDeadlineExceeded(early)) << early;
  EXPECT_NE(early.message().find("no placement"), std::string::npos) << early;
  coordinator_.PublishPlacement();
  ASSERT_TRUE(server->WaitReady(Soon()).ok());

  const auto stub = StubOf(*server);
  int tokens = 0;
  const grpc::Status generated = Generate(*stub, &tokens);
  EXPECT_TRUE(generated.ok()) << generated.error_message();
  EXPECT_EQ(tokens, 6);

  // The engine publishes its counters after it has handed the tokens out.
  v1::RouterWorkerStatus status;
  for (const TimePoint deadline = Soon();
       status.generated_tokens() < 6 && Clock::Real().Now() < deadline;) {
    const auto context = runtime::NewContext(kPatience);
    ASSERT_TRUE(stub->Status(context.get(), {}, &status).ok());
  }
  EXPECT_TRUE(status.ready());
  EXPECT_EQ(status.epoch(), 7u);
  EXPECT_EQ(status.model().numerics(), v1::NUMERICS_FP32);
  EXPECT_EQ(status.kv_pages_total(), 64u);
  EXPECT_EQ(status.generated_tokens(), 6u);
  EXPECT_EQ(status.prompt_tokens(), 20u);
  EXPECT_EQ(status.vocabulary(), static_cast<uint32_t>(kTinyVocabulary));
  EXPECT_EQ(status.max_positions(), 256u);

  server->Drain(Soon());
  EXPECT_TRUE(coordinator_.WaitDraining());
  EXPECT_EQ(Generate(*stub, &tokens).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RouterServerTest, TheCacheLimitsTheContext) {
  RouterOptions options = Options();
  options.kv_tokens = 32;
  auto server = RouterServer::Start(std::move(options));
  ASSERT_TRUE(server.ok()) << server.status();
  coordinator_.PublishPlacement();
  ASSERT_TRUE(server->WaitReady(Soon()).ok());
  int tokens = 0;
  const auto stub = StubOf(*server);
  EXPECT_TRUE(Generate(*stub, &tokens).ok());
  v1::GenerateRequest request = Request();
  request.set_max_tokens(13);
  const auto context = runtime::NewContext(kPatience);
  const auto stream = stub->Generate(context.get(), request);
  v1::GenerateResponse message;
  while (stream->Read(&message)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RouterServerTest, ARefusalOfTheCoordinatorIsTheErrorOfStart) {
  coordinator_.Refuse("the pool runs another model");
  const auto server = RouterServer::Start(Options());
  EXPECT_TRUE(absl::IsFailedPrecondition(server.status())) << server.status();
  EXPECT_NE(server.status().message().find("another model"), std::string::npos);
}

TEST_F(RouterServerTest, RefusesOptionsOutOfRange) {
  for (const auto change : std::vector<void (*)(RouterOptions&)>{
           [](RouterOptions& o) { o.stages = 0; }, [](RouterOptions& o) { o.stages = 3; },
           [](RouterOptions& o) { o.prefill_chunk = 0; },
           [](RouterOptions& o) { o.kv_tokens = -1; },
           [](RouterOptions& o) { o.max_requests = 0; }}) {
    RouterOptions options = Options();
    change(options);
    EXPECT_TRUE(absl::IsInvalidArgument(RouterServer::Start(std::move(options)).status()));
  }
}

}  // namespace
}  // namespace switchyard::router
