// Servers and clients as they meet each other.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "proto/coordinator.grpc.pb.h"
#include "services/runtime/grpc_client.h"
#include "services/runtime/grpc_server.h"
#include "services/runtime/health_client.h"

namespace switchyard::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kLong = seconds(30);  // no test waits for it to pass

// Any service does; this one answers Drain with what the test says.
class FakeService : public v1::Coordinator::Service {
 public:
  using Handler = std::function<grpc::Status(grpc::ServerContext&)>;
  explicit FakeService(Handler handler) : handler_(std::move(handler)) {}

  grpc::Status Drain(grpc::ServerContext* context, const v1::DrainRequest*,
                     v1::DrainResponse*) override {
    return handler_(*context);
  }

  GrpcServerOptions Options() {
    return {.services = {{v1::Coordinator::service_full_name(), this}}};
  }

 private:
  const Handler handler_;
};

grpc::Status CallDrain(const std::string& address, std::unique_ptr<grpc::ClientContext> context) {
  auto stub = v1::Coordinator::NewStub(NewChannel(address));
  v1::DrainResponse response;
  return stub->Drain(context.get(), {}, &response);
}

// Returns when the call is cancelled, in any way.
grpc::Status WaitForCancel(grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(5));
  return grpc::Status::CANCELLED;
}

TEST(Grpc, HealthFollowsSetServing) {
  FakeService service([](grpc::ServerContext&) { return grpc::Status::OK; });
  auto server = GrpcServer::Start(service.Options());
  ASSERT_TRUE(server.ok()) << server.status();
  for (const bool serving : {false, true, false}) {
    server->SetServing(serving);
    for (const std::string name : {"", "switchyard.v1.Coordinator"}) {
      const auto answer = IsServing(server->address(), name, kLong);
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(*answer, serving) << name;
    }
  }
}

TEST(Grpc, AddressesWithoutPortAndTakenPortsAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(GrpcServer::Start({.address = "localhost"}).status()));
  FakeService service([](grpc::ServerContext&) { return grpc::Status::OK; });
  auto first = GrpcServer::Start(service.Options());
  ASSERT_TRUE(first.ok()) << first.status();
  GrpcServerOptions options = service.Options();
  options.address = first->address();
  EXPECT_TRUE(absl::IsUnavailable(GrpcServer::Start(options).status()));
}

TEST(Grpc, CallsEndByTheirDeadline) {
  FakeService service(WaitForCancel);
  auto server = GrpcServer::Start(service.Options());
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(CallDrain(server->address(), NewContext(milliseconds(50))).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
}

// The callback holds the context, which holds the channel. There is no server here: one keeps the
// threads of callbacks, too.
TEST(Grpc, TheLastChannelMayEndInACallback) {
  for (int i = 0; i < 20; ++i) {
    struct Call {
      v1::DrainRequest request;
      v1::DrainResponse response;
      std::unique_ptr<grpc::ClientContext> context = NewContext(kLong);
    };
    std::promise<void> go_on;
    std::promise<grpc::StatusCode> done;
    {
      auto call = std::make_shared<Call>();
      auto stub = v1::Coordinator::NewStub(NewChannel("127.0.0.1:1"));
      stub->async()->Drain(
          call->context.get(), &call->request, &call->response,
          [call, &done, only_holder = go_on.get_future().share()](const grpc::Status& status) {
            only_holder.wait();
            done.set_value(status.error_code());
          });
    }
    go_on.set_value();
    EXPECT_EQ(done.get_future().get(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST(Grpc, CallOnBehalfOfAnotherHasItsDeadline) {
  Duration left{};
  FakeService inner([&](grpc::ServerContext& context) {
    left = TimeLeft(context, kLong * 10);
    return grpc::Status::OK;
  });
  auto inner_server = GrpcServer::Start(inner.Options());
  ASSERT_TRUE(inner_server.ok());
  FakeService outer([&](grpc::ServerContext& context) {
    return CallDrain(inner_server->address(), NewContext(kLong * 10, context));
  });
  auto outer_server = GrpcServer::Start(outer.Options());
  ASSERT_TRUE(outer_server.ok());
  ASSERT_TRUE(CallDrain(outer_server->address(), NewContext(kLong)).ok());
  EXPECT_GT(left, Duration::zero());
  EXPECT_LE(left, kLong);
}

TEST(Grpc, CallOnBehalfOfAnotherIsCancelledWithIt) {
  std::promise<void> inner_called;
  std::promise<void> inner_cancelled;
  FakeService inner([&](grpc::ServerContext& context) {
    inner_called.set_value();
    const grpc::Status status = WaitForCancel(context);
    inner_cancelled.set_value();
    return status;
  });
  auto inner_server = GrpcServer::Start(inner.Options());
  ASSERT_TRUE(inner_server.ok());
  FakeService outer([&](grpc::ServerContext& context) {
    return CallDrain(inner_server->address(), NewContext(kLong * 10, context));
  });
  auto outer_server = GrpcServer::Start(outer.Options());
  ASSERT_TRUE(outer_server.ok());
  auto context = NewContext(kLong * 10);
  grpc::ClientContext* const call = context.get();
  std::thread canceller([&] {
    inner_called.get_future().wait();
    call->TryCancel();
  });
  EXPECT_EQ(CallDrain(outer_server->address(), std::move(context)).error_code(),
            grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_EQ(inner_cancelled.get_future().wait_for(kLong), std::future_status::ready);
}

TEST(Grpc, TimeLeftIsAtMostTheLimitAndNeverNegative) {
  Duration unlimited{};
  Duration none{};
  FakeService service([&](grpc::ServerContext& context) {
    unlimited = TimeLeft(context, seconds(3));
    none = TimeLeft(context, Duration::zero());
    return grpc::Status::OK;
  });
  auto server = GrpcServer::Start(service.Options());
  ASSERT_TRUE(server.ok());
  ASSERT_TRUE(CallDrain(server->address(), NewContext(kLong)).ok());
  EXPECT_EQ(unlimited, seconds(3));
  EXPECT_EQ(none, Duration::zero());
}

TEST(Grpc, ShutdownCancelsCallsThatDoNotEnd) {
  std::promise<void> called;
  FakeService service([&](grpc::ServerContext& context) {
    called.set_value();
    return WaitForCancel(context);
  });
  auto server = GrpcServer::Start(service.Options());
  ASSERT_TRUE(server.ok());
  std::thread stopper([&] {
    called.get_future().wait();
    server->Shutdown(milliseconds(50));
  });
  EXPECT_FALSE(CallDrain(server->address(), NewContext(kLong * 10)).ok());
  stopper.join();
  EXPECT_FALSE(IsServing(server->address(), "", seconds(1)).ok());
}

}  // namespace
}  // namespace switchyard::runtime
