#include "services/transport/liveness_connection.h"

#include <sys/socket.h>

#include <cerrno>

#include "services/transport/introduction.h"
#include "services/transport/little_endian.h"

namespace switchyard::transport {
namespace {

constexpr size_t kPrefixBytes = 8;  // type, length
constexpr size_t kMaxQueuedBytes = 4 * kMaxIntroductionBytes;

uint32_t LoadUint32(std::string_view bytes, size_t offset) {
  return LoadLittleEndian<uint32_t>(reinterpret_cast<const std::byte*>(bytes.data()) + offset);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

void LivenessConnection::Post(LivenessMessage type, std::string_view body) {
  // A peer that reads nothing for so long is silent too, and lost for that.
  if (outgoing_.size() + kPrefixBytes + body.size() > kMaxQueuedBytes) return;
  std::byte prefix[kPrefixBytes];
  StoreLittleEndian(prefix, static_cast<uint32_t>(type));
  StoreLittleEndian(prefix + 4, static_cast<uint32_t>(body.size()));
  outgoing_.append(reinterpret_cast<const char*>(prefix), kPrefixBytes);
  outgoing_.append(body);
}

bool LivenessConnection::Exchange(bool& heard) { return Write() & Read(heard); }

bool LivenessConnection::Write() {
  while (!outgoing_.empty()) {
    const ssize_t sent = send(fd(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    // A connection that is still under way reports ENOTCONN or EAGAIN.
    if (sent < 0) return WouldBlock() || errno == ENOTCONN;
    outgoing_.erase(0, static_cast<size_t>(sent));
  }
  return true;
}

bool LivenessConnection::Read(bool& heard) {
  char bytes[4096];
  // Room for the longest message, so that what is not read is more than one.
  while (incoming_.size() < kPrefixBytes + kMaxIntroductionBytes) {
    const ssize_t received = recv(fd(), bytes, sizeof(bytes), 0);
    if (received == 0) return false;
    if (received < 0) return WouldBlock() || errno == ENOTCONN;
    heard = true;
    incoming_.append(bytes, static_cast<size_t>(received));
  }
  return true;
}

std::optional<LivenessConnection::Message> LivenessConnection::Take() {
  if (incoming_.size() < kPrefixBytes) return std::nullopt;
  const size_t length = LoadUint32(incoming_, 4);
  if (length > kMaxIntroductionBytes) {
    // Nothing after this can be understood: end the stream, so that Exchange reports it.
    incoming_.clear();
    shutdown(fd(), SHUT_RDWR);
    return std::nullopt;
  }
  if (incoming_.size() < kPrefixBytes + length) return std::nullopt;
  Message message{.type = static_cast<LivenessMessage>(LoadUint32(incoming_, 0)),
                  .body = incoming_.substr(kPrefixBytes, length)};
  incoming_.erase(0, kPrefixBytes + length);
  return message;
}

}  // namespace switchyard::transport
