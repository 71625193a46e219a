#pragma once

// A socket that carries small messages between two liveness threads: type, length, body. Never
// blocks; what comes from the peer is bounded.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "services/base/unique_fd.h"

namespace switchyard::transport {

enum class LivenessMessage : uint32_t {
  kIntroduction = 1,  // body: an Introduction
  kReady = 2,         // body: one byte, 1 when the sender has the peer's slots mapped
  kBeat = 3,          // body: a counter of 8 bytes
};

class LivenessConnection {
 public:
  explicit LivenessConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  bool wants_to_write() const { return !outgoing_.empty(); }

  // Queues a message; Exchange sends it.
  void Post(LivenessMessage type, std::string_view body);

  // Writes what is queued and reads what is there. False once the peer has gone or broken the
  // rules; messages that arrived before can still be taken. `heard` is set when bytes arrived.
  bool Exchange(bool& heard);

  struct Message {
    LivenessMessage type;
    std::string body;
  };
  std::optional<Message> Take();

  // Whether bytes are here that no Take has given out.
  bool has_unread() const { return !incoming_.empty(); }

 private:
  bool Write();
  bool Read(bool& heard);

  UniqueFd socket_;
  std::string incoming_;
  std::string outgoing_;
};

}  // namespace switchyard::transport
