#include "services/transport/wake_socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace switchyard::transport {

absl::StatusOr<WakeSocket> WakeSocket::Bind() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX};
  socklen_t size = sizeof(address);
  // Binding without a name makes the kernel choose a free abstract one.
  if (!socket.valid() ||
      bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return absl::UnavailableError(absl::StrCat("wake socket: ", strerror(errno)));
  }
  std::string name(address.sun_path, size - sizeof(sa_family_t));
  return WakeSocket(std::move(socket), std::move(name));
}

void WakeSocket::Drain() {
  char ring;
  while (recv(socket_.get(), &ring, 1, 0) >= 0) {
  }
}

void WakeSocket::Ring(const std::string& name) const {
  sockaddr_un address{.sun_family = AF_UNIX};
  // Only abstract names: a peer must not make us write to sockets of the file system.
  if (name.empty() || name.front() != '\0' || name.size() > sizeof(address.sun_path)) return;
  std::copy(name.begin(), name.end(), address.sun_path);
  const char ring = 1;
  sendto(socket_.get(), &ring, 1, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
         static_cast<socklen_t>(sizeof(sa_family_t) + name.size()));
}

}  // namespace switchyard::transport
