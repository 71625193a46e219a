#include "services/runtime/grpc_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

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

}  // namespace

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
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
