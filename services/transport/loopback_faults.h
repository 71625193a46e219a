#pragma once

// What the loopback network does to frames when it is told to.

#include <chrono>
#include <cstdint>

#include "services/base/clock.h"

namespace switchyard::transport {

// Chances per frame sent, 0 to 1, each drawn on its own.
struct FaultRates {
  double drop = 0;
  double delay = 0;      // arrives `delay_by` late; later frames overtake it
  double duplicate = 0;  // arrives twice
  double reorder = 0;    // arrives behind the next frame, at the latest after `delay_by`
  double truncate = 0;   // loses bytes at its end
  double corrupt = 0;    // one bit is flipped
  Duration delay_by = std::chrono::milliseconds(1);
};

// Frames hit so far, per fault.
struct FaultCounts {
  uint64_t dropped = 0;
  uint64_t delayed = 0;
  uint64_t duplicated = 0;
  uint64_t reordered = 0;
  uint64_t truncated = 0;
  uint64_t corrupted = 0;
};

}  // namespace switchyard::transport
