#pragma once

// Non-blocking TCP sockets of numeric addresses, written "127.0.0.1:4567" or "[::1]:4567". No name
// is ever looked up, so no call waits.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "services/base/unique_fd.h"

namespace switchyard::transport {

// Listens at host:port, any free port when it is 0.
absl::StatusOr<UniqueFd> ListenTcp(const std::string& host, uint16_t port);

// The address that a listening socket is bound to.
absl::StatusOr<std::string> BoundAddress(const UniqueFd& listener);

// The network interface that has a numeric address, such as "lo" or "eth0".
absl::StatusOr<std::string> InterfaceOf(const std::string& host);

// A connection that may still be under way; writing to it fails once it turns out impossible.
absl::StatusOr<UniqueFd> ConnectTcp(const std::string& address);

// The next connection that waits at a listener; an invalid descriptor when there is none.
UniqueFd AcceptTcp(const UniqueFd& listener);

}  // namespace switchyard::transport
