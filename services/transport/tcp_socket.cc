#include "services/transport/tcp_socket.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::transport {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

absl::StatusOr<AddressList> ParseNumeric(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", host, "\" port \"", port, "\" is no numeric address: ", gai_strerror(error)));
  }
  return AddressList(found, &freeaddrinfo);
}

absl::StatusOr<AddressList> ParseHostAndPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address: write host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return ParseNumeric(host, address.substr(colon + 1));
}

bool SameHost(const sockaddr& a, const sockaddr& b) {
  if (a.sa_family != b.sa_family) return false;
  if (a.sa_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(a).sin_addr.s_addr ==
           reinterpret_cast<const sockaddr_in&>(b).sin_addr.s_addr;
  }
  return a.sa_family == AF_INET6 &&
         std::memcmp(&reinterpret_cast<const sockaddr_in6&>(a).sin6_addr,
                     &reinterpret_cast<const sockaddr_in6&>(b).sin6_addr, sizeof(in6_addr)) == 0;
}

// Small messages leave at once; a socket of ours is not inherited by child processes.
void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

UniqueFd NewSocket(const addrinfo& address) {
  return UniqueFd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

}  // namespace

absl::StatusOr<UniqueFd> ListenTcp(const std::string& host, uint16_t port) {
  ASSIGN_OR_RETURN(const AddressList address, ParseNumeric(host, absl::StrCat(port)));
  const std::string what = absl::StrCat("listen at ", host, " port ", port);
  UniqueFd listener = NewSocket(*address);
  if (!listener.valid()) return SystemError(what);
  const int on = 1;
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener.get(), address->ai_addr, address->ai_addrlen) != 0 ||
      listen(listener.get(), SOMAXCONN) != 0) {
    return SystemError(what);
  }
  return listener;
}

absl::StatusOr<std::string> BoundAddress(const UniqueFd& listener) {
  sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return SystemError("address of a listening socket");
  }
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (const int error =
          getnameinfo(reinterpret_cast<const sockaddr*>(&bound), size, host, sizeof(host), port,
                      sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
      error != 0) {
    return absl::InternalError(
        absl::StrCat("address of a listening socket: ", gai_strerror(error)));
  }
  return bound.ss_family == AF_INET6 ? absl::StrCat("[", host, "]:", port)
                                     : absl::StrCat(host, ":", port);
}

absl::StatusOr<std::string> InterfaceOf(const std::string& host) {
  ASSIGN_OR_RETURN(const AddressList wanted, ParseNumeric(host, "0"));
  ifaddrs* found = nullptr;
  if (getifaddrs(&found) != 0) return SystemError("list the network interfaces");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> interfaces(found, &freeifaddrs);
  for (const ifaddrs* each = found; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr != nullptr && SameHost(*each->ifa_addr, *wanted->ai_addr)) {
      return std::string(each->ifa_name);
    }
  }
  return absl::NotFoundError(absl::StrCat("no network interface has the address ", host));
}

absl::StatusOr<UniqueFd> ConnectTcp(const std::string& address) {
  ASSIGN_OR_RETURN(const AddressList parsed, ParseHostAndPort(address));
  UniqueFd connection = NewSocket(*parsed);
  if (!connection.valid() || (connect(connection.get(), parsed->ai_addr, parsed->ai_addrlen) != 0 &&
                              errno != EINPROGRESS)) {
    return SystemError(absl::StrCat("connect to ", address));
  }
  SetNoDelay(connection.get());
  return connection;
}

UniqueFd AcceptTcp(const UniqueFd& listener) {
  UniqueFd connection(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (connection.valid()) SetNoDelay(connection.get());
  return connection;
}

}  // namespace switchyard::transport
