#pragma once

// How a NCCL transport is started.

#include <chrono>

#include "services/base/clock.h"

namespace switchyard::transport {

struct NcclOptions {
  // Of a channel's links between the GPUs, from when the peer is seen.
  Duration open_timeout = std::chrono::seconds(20);
  // Of transfers under way: a channel is lost when none has ended for so long.
  Duration transfer_timeout = std::chrono::seconds(10);
  // Of the transport's end: how long it waits for aborts.
  Duration close_timeout = std::chrono::seconds(2);
  const Clock* clock = &Clock::Real();  // must outlive the transport
};

}  // namespace switchyard::transport
