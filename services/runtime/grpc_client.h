#pragma once

// Channels and call contexts of every control-plane client: keepalive on, quick reconnects, and no
// call without a deadline.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string>

#include "services/base/clock.h"

namespace switchyard::runtime {

// A channel of its own (its reconnect state is shared with no other). Connects lazily; tries again
// at most a second after a failure. Proxies of the environment are ignored. Thread-safe.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& address);

// A context whose call ends by `timeout` from now.
std::unique_ptr<grpc::ClientContext> NewContext(Duration timeout);

// The same for a call made on behalf of one being served: it also ends by the caller's deadline and
// is cancelled with it. `caller` must outlive the call.
std::unique_ptr<grpc::ClientContext> NewContext(Duration timeout,
                                                const grpc::ServerContextBase& caller);

// How long the call being served may still take: until its deadline, at most `limit`; never
// negative.
Duration TimeLeft(const grpc::ServerContextBase& context, Duration limit);

}  // namespace switchyard::runtime
