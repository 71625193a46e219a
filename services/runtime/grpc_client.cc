#include "services/runtime/grpc_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <future>

#include "services/runtime/keepalive.h"

namespace switchyard::runtime {
namespace {

constexpr int kFirstReconnectMs = 100;
constexpr int kMaxReconnectMs = 1'000;
constexpr int kMaxMessageBytes = 64 << 20;

std::chrono::system_clock::time_point Deadline(Duration timeout) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout);
}

// gRPC runs callbacks on threads that live as long as any channel that has made a call with one. A
// call's context holds its channel; so when a callback drops the last context of the last channel,
// such a thread would join itself and then go on with its queue, which is freed (gRPC 1.51). This
// channel has made one such call and keeps the threads until the process ends.
grpc::GenericStub ChannelThatKeepsCallbackThreads() {
  grpc::GenericStub stub(
      grpc::CreateChannel("unix:/nonexistent", grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::time_point());  // over before it begins
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  std::promise<void> done;
  stub.UnaryCall(&context, "/", {}, &request, &response,
                 [&done](const grpc::Status&) { done.set_value(); });
  done.get_future().wait();
  return stub;
}

}  // namespace

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  static const grpc::GenericStub kKept = ChannelThatKeepsCallbackThreads();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  // Also how long one attempt to connect may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::unique_ptr<grpc::ClientContext> NewContext(Duration timeout) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(Deadline(timeout));
  return context;
}

std::unique_ptr<grpc::ClientContext> NewContext(Duration timeout,
                                                const grpc::ServerContextBase& caller) {
  auto context = grpc::ClientContext::FromServerContext(caller);
  context->set_deadline(std::min(Deadline(timeout), caller.deadline()));
  return context;
}

Duration TimeLeft(const grpc::ServerContextBase& context, Duration limit) {
  const auto now = std::chrono::system_clock::now();
  const auto deadline = context.deadline();
  if (deadline <= now) return Duration::zero();
  if (deadline - now >= limit) return limit;
  return std::chrono::duration_cast<Duration>(deadline - now);
}

}  // namespace switchyard::runtime
