#pragma once

// How a channel moves images of frames: over memory that both processes map, or over messages. A
// lane moves bytes and slots; what the bytes say is checked by the channel.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "services/transport/frame.h"

namespace switchyard::transport {

// A set of slots, one bit each.
using SlotSet = uint64_t;
constexpr SlotSet SlotBit(uint32_t slot) { return SlotSet{1} << slot; }

// An image that arrived and is held until Lane::Release.
struct HeldImage {
  uint32_t slot = 0;                           // below the layout's slots
  std::array<std::byte, kHeaderBytes> header;  // a copy: the peer cannot change it any more
  const std::byte* body = nullptr;             // aligned to 64 bytes
  std::optional<size_t> body_bytes;            // where the lane knows how much arrived
  // Where it came apart from the body, which is then the metadata alone.
  std::optional<std::span<const std::byte>> payload;
  void* buffer = nullptr;  // the lane's own
};

// Of the transport's thread.
class Lane {
 public:
  virtual ~Lane() = default;

  // A slot for the next image, while there is a credit.
  virtual std::optional<uint32_t> Acquire() = 0;
  virtual void FreeUnsent(uint32_t slot) = 0;

  // Sends the frame with this header, finished, that stands in an acquired slot.
  virtual absl::Status Post(uint32_t slot, const FrameHeader& header) = 0;

  // The next image that arrived, in the order in which they were sent.
  virtual std::optional<HeldImage> Take() = 0;
  virtual void Release(const HeldImage& image) = 0;

  // True when an image or a credit came since the last call.
  virtual bool HasNews() = 0;

  // Before the transport sleeps: hands over what was kept back, and asks the peer to ring.
  virtual void BeforeSleep() = 0;
  virtual void AfterSleep() = 0;

  // Messages that named impossible slots.
  virtual uint64_t rejected() const = 0;

  virtual std::string name() const = 0;
};

}  // namespace switchyard::transport
