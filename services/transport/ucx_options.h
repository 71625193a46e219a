#pragma once

// How a UCX transport is started.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/base/memory.h"
#include "services/base/clock.h"

namespace switchyard::transport {

enum class UcxLanes {
  kAuto,          // shared memory where both sides can map it, else the best network
  kSharedMemory,  // only shared memory: a peer out of reach is lost
  kTcp,           // only TCP
};

// Where payloads of slots lie instead of in memory that peers can map. The host reaches it too.
struct UcxPayloadMemory {
  kernels::MemorySource source;
  bool cuda = false;  // CUDA's unified memory, else ordinary memory of the host
};

struct UcxOptions {
  uint64_t member = 0;
  uint64_t incarnation = 0;
  std::string host = "127.0.0.1";  // numeric; where to listen for peers, and how they reach it
  UcxLanes lanes = UcxLanes::kAuto;
  // With it a frame's payload is a message of its own, on channels to whomever.
  std::optional<UcxPayloadMemory> payload_memory;
  // From there a payload of so many bytes is fetched by the receiver (rendezvous), a smaller one
  // comes along (eager).
  size_t rendezvous_from = 64 << 10;
  bool checksum_shared_memory = false;  // payload checksums there too; elsewhere they are always on
  Duration spin = std::chrono::microseconds(5);  // of Wait before it sleeps; 0 where cores are few
  Duration liveness_period = std::chrono::milliseconds(50);
  Duration lost_after = std::chrono::milliseconds(500);
  Duration open_timeout = std::chrono::seconds(5);
  const Clock* clock = &Clock::Real();  // must outlive the transport
};

}  // namespace switchyard::transport
