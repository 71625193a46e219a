// Who an expert host talks to: the handshake of its control port.

#include "expert_service/expert_host_server.h"

#include <unistd.h>

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "kernels/device/cpu_device.h"
#include "proto/coordinator.grpc.pb.h"
#include "proto/expert_host.grpc.pb.h"
#include "services/base/version.h"
#include "services/model/checkpoint.h"
#include "services/model/random_checkpoint.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"
#include "services/transport/loopback.h"

namespace switchyard::expert {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds(60);
constexpr uint32_t kHidden = 32;

// Admits everyone with the model that they have, or nobody.
class FakeCoordinator : public v1::Coordinator::Service {
 public:
  FakeCoordinator()
      : server_(
            *runtime::GrpcServer::Start({.services = {{v1::Coordinator::service_full_name(), this}},
                                         .shutdown_timeout = milliseconds(100)})) {}

  const std::string& address() const { return server_.address(); }
  void Refuse(const std::string& why) {
    std::lock_guard lock(mutex_);
    refusal_ = why;
  }

 private:
  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    std::lock_guard lock(mutex_);
    if (refusal_) return {grpc::StatusCode::FAILED_PRECONDITION, *refusal_};
    response->set_lease_ms(2000);
    response->mutable_model()->set_digest(request->model_digest());
    response->mutable_model()->set_weights_version(1);
    response->mutable_model()->set_numerics(v1::NUMERICS_FP32);
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*,
                         v1::HeartbeatResponse*) override {
    return grpc::Status::OK;
  }

  std::mutex mutex_;
  std::optional<std::string> refusal_;
  runtime::GrpcServer server_;
};

std::string ModelFolder() {
  const std::string folder =
      ::testing::TempDir() + "/expert_host_server_test." + std::to_string(getpid());
  const model::ModelSpec spec = model::MixtralSpec({.hidden = kHidden,
                                                    .intermediate = 32,
                                                    .layers = 2,
                                                    .heads = 4,
                                                    .kv_heads = 2,
                                                    .head_dim = 8,
                                                    .experts = 4,
                                                    .top_k = 2,
                                                    .vocabulary = 96});
  kernels::ThreadPool pool(1);
  EXPECT_TRUE(model::WriteRandomCheckpoint(spec, 5, folder, pool).ok());
  return folder;
}

class ExpertHostServerTest : public ::testing::Test {
 protected:
  ExpertHostOptions Options() {
    return {.name = "host-0",
            .model_folder = folder_,
            .coordinator_address = coordinator_.address(),
            .transport = [this](uint64_t member, uint64_t life)
                -> absl::StatusOr<std::unique_ptr<transport::Transport>> {
              return network_.Start(member, life);
            },
            .device = &device_,
            .registration_timeout = kPatience};
  }

  void Start() {
    auto host = ExpertHost::Start(Options());
    ASSERT_TRUE(host.ok()) << host.status();
    host_.emplace(*std::move(host));
    stub_ =
        v1::ExpertHost::NewStub(runtime::NewChannel("127.0.0.1:" + std::to_string(host_->port())));
  }

  v1::OpenChannelRequest Request() const {
    v1::OpenChannelRequest request;
    request.set_software_version(kVersion);
    request.mutable_model()->set_digest(digest_);
    request.mutable_model()->set_weights_version(1);
    request.mutable_model()->set_numerics(v1::NUMERICS_FP32);
    request.mutable_router()->set_member(1);
    request.mutable_router()->set_incarnation(11);
    request.mutable_layout()->set_rows(4);
    request.mutable_layout()->set_row_bytes(kHidden * 4);
    request.mutable_layout()->set_metadata_bytes(48);
    request.mutable_layout()->set_slots(2);
    request.set_nonce(9);
    return request;
  }

  grpc::Status Open(const v1::OpenChannelRequest& request) {
    const auto context = runtime::NewContext(kPatience);
    v1::OpenChannelResponse response;
    return stub_->OpenChannel(context.get(), request, &response);
  }

  // Refused in words that hold `text` and the name of the host.
  void ExpectRefused(const std::function<void(v1::OpenChannelRequest&)>& spoil,
                     const std::string& text) {
    v1::OpenChannelRequest request = Request();
    spoil(request);
    const grpc::Status status = Open(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << text;
    EXPECT_NE(status.error_message().find(text), std::string::npos) << status.error_message();
  }

  const std::string folder_ = ModelFolder();
  const uint64_t digest_ = model::Checkpoint::Open(folder_)->digest();
  kernels::ThreadPool pool_{1};
  kernels::CpuDevice device_{pool_};
  transport::LoopbackNetwork network_;
  FakeCoordinator coordinator_;
  std::optional<ExpertHost> host_;
  std::unique_ptr<v1::ExpertHost::Stub> stub_;
};

TEST_F(ExpertHostServerTest, ARouterOfAnotherVersionModelOrClassIsRefusedAtTheHandshake) {
  Start();
  if (HasFatalFailure()) return;
  using R = v1::OpenChannelRequest;
  const std::string here = std::string("host-0 runs version ") + kVersion;
  ExpectRefused([](R& r) { r.set_software_version("9.9"); }, here);
  ExpectRefused([](R& r) { r.set_software_version("9.9"); }, "the router worker version 9.9");
  ExpectRefused([](R& r) { r.clear_software_version(); }, here);
  ExpectRefused([](R& r) { r.mutable_model()->set_digest(0xabc); }, "model abc");
  ExpectRefused([](R& r) { r.clear_model(); }, here);
  ExpectRefused([](R& r) { r.mutable_model()->set_weights_version(2); }, "version 2 class");
  ExpectRefused([](R& r) { r.mutable_model()->set_numerics(v1::NUMERICS_BF16); },
                "class NUMERICS_BF16");
  ExpectRefused([](R& r) { r.mutable_layout()->set_row_bytes(2); }, "slot rows of 2 bytes");
  ExpectRefused([](R& r) { r.mutable_layout()->set_slots(UINT32_MAX); }, "out of bounds");
  const grpc::Status good = Open(Request());
  EXPECT_TRUE(good.ok()) << good.error_message();
}

TEST_F(ExpertHostServerTest, OrdersForAnotherLifeOrForNoSuchExpertAreRefused) {
  Start();
  if (HasFatalFailure()) return;
  const auto load = [&](uint64_t incarnation, uint32_t layer, uint32_t expert) {
    v1::LoadExpertsRequest request;
    request.set_incarnation(incarnation);
    request.add_experts()->set_layer(layer);
    request.mutable_experts(0)->add_experts(expert);
    const auto context = runtime::NewContext(kPatience);
    v1::LoadExpertsResponse response;
    return stub_->LoadExperts(context.get(), request, &response);
  };
  const auto context = runtime::NewContext(kPatience);
  v1::ExpertHostStatus status;
  ASSERT_TRUE(stub_->Status(context.get(), {}, &status).ok());
  const uint64_t life = status.member().incarnation();
  EXPECT_EQ(load(life + 1, 0, 0).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(load(life, 0, 4).error_message(), "the model has no layer 0, expert 4");
  EXPECT_EQ(load(life, UINT32_MAX, 0).error_message(),
            "the model has no layer 4294967295, expert 0");
  EXPECT_TRUE(load(life, 1, 3).ok());
}

TEST_F(ExpertHostServerTest, ARefusalOfTheCoordinatorIsTheErrorOfStart) {
  coordinator_.Refuse("host-0 has model 1, but this pool runs model 2");
  const auto host = ExpertHost::Start(Options());
  EXPECT_TRUE(absl::IsFailedPrecondition(host.status())) << host.status();
  EXPECT_NE(host.status().message().find("this pool runs model 2"), std::string::npos);
}

}  // namespace
}  // namespace switchyard::expert
