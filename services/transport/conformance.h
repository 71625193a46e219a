#pragma once

// What every backend must do, as tests over any backend: instantiate TransportConformanceTest with
// it.

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "gtest/gtest.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

// Transports that can reach one another; its open timeout should be about a second.
class ConformanceNetwork {
 public:
  virtual ~ConformanceNetwork() = default;
  virtual std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation) = 0;
};

struct ConformanceBackend {
  std::string name;
  std::string lane;  // what channels must report
  std::function<std::unique_ptr<ConformanceNetwork>()> make;
};

inline void PrintTo(const ConformanceBackend& backend, std::ostream* out) { *out << backend.name; }

class TransportConformanceTest : public testing::TestWithParam<ConformanceBackend> {
 protected:
  static constexpr uint64_t kNonce = 0x1234567890ABCDEF;
  static constexpr SlotLayout kLayout{
      .rows = 8, .row_bytes = 256, .metadata_bytes = 192, .slots = 4};

  TransportConformanceTest();

  // Opens a channel each way and waits until both are open.
  void OpenPair(const SlotLayout& layout = kLayout, uint64_t nonce = kNonce);

  // Drives both transports until the condition holds; false after ten seconds.
  bool Until(const std::function<bool()>& condition);

  // Waits for the next frame of a channel; nullptr after ten seconds.
  std::unique_ptr<ReceivedFrame> Receive(Channel& channel);

  // Sends a frame whose every byte follows from `number`; aborts the test when it cannot.
  void SendNumbered(Channel& channel, uint64_t number, uint32_t rows);

  std::unique_ptr<ConformanceNetwork> network_;
  std::unique_ptr<Transport> router_;  // member 1 incarnation 11
  std::unique_ptr<Transport> host_;    // member 2 incarnation 22
  std::unique_ptr<Channel> to_host_;
  std::unique_ptr<Channel> to_router_;
};

// Fills a slot with bytes that follow from `number`, and the header that goes with it.
FrameHeader FillNumbered(SendSlot& slot, const SlotLayout& layout, uint64_t number, uint32_t rows);

// Whether a frame is exactly what FillNumbered made for header.batch.
testing::AssertionResult IsNumbered(const ReceivedFrame& frame, const SlotLayout& layout);

}  // namespace switchyard::transport
