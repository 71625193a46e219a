#pragma once

// Wakes a sleeping transport of another process on the same host. Over shared memory nothing else
// tells a sleeper that a frame or a credit has come.

#include <string>

#include "absl/status/statusor.h"
#include "services/base/unique_fd.h"

namespace switchyard::transport {

class WakeSocket {
 public:
  // Binds a datagram socket to an abstract name that nobody else has.
  static absl::StatusOr<WakeSocket> Bind();

  const std::string& name() const { return name_; }

  // Readable once somebody has rung.
  int fd() const { return socket_.get(); }

  // Takes every ring that has come.
  void Drain();

  // Rings the socket of that name. A ring to one that is gone, or has rings waiting, is dropped.
  void Ring(const std::string& name) const;

 private:
  WakeSocket(UniqueFd socket, std::string name)
      : socket_(std::move(socket)), name_(std::move(name)) {}

  UniqueFd socket_;
  std::string name_;
};

}  // namespace switchyard::transport
