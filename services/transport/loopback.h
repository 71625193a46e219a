#pragma once

// The in-process backend: transports of one LoopbackNetwork reach one another between threads of
// one process. Most tests use it, because it can lose, delay, double, reorder, shorten and damage
// frames, kill members and cut links, with the same faults for the same seed; `--in-process` serves
// with it.
//
// Frames are read where the sender wrote them, and their payload checksum is on. A frame that is
// lost or rejected gives its slot back, as a rejected frame does in every backend.

#include <cstdint>
#include <memory>

#include "services/base/clock.h"
#include "services/transport/loopback_faults.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

struct LoopbackHub;

// Thread-safe. Its transports may outlive it.
class LoopbackNetwork {
 public:
  struct Options {
    const Clock* clock = &Clock::Real();  // must outlive the network's transports
    uint64_t seed = 0;                    // of the faults
    Duration open_timeout = std::chrono::seconds(5);
    Duration lost_after = std::chrono::milliseconds(500);  // of silence on a cut link
  };

  LoopbackNetwork() : LoopbackNetwork(Options{}) {}
  explicit LoopbackNetwork(const Options& options);
  ~LoopbackNetwork();

  std::unique_ptr<Transport> Start(uint64_t member, uint64_t incarnation);

  // From now on, for frames on every link.
  void SetFaults(const FaultRates& rates);
  FaultCounts faults() const;

  // As SIGKILL would: its peers lose their channels at once; what it sends afterwards goes nowhere,
  // and its own channels are lost too. A later incarnation of the member is not affected.
  void Kill(uint64_t member, uint64_t incarnation);

  // One way only: nothing that `from` sends reaches `to`, which loses the channel after
  // `lost_after` of silence. What `to` sends still arrives, its closing included. Until Heal.
  void Cut(uint64_t from, uint64_t to);
  void Heal(uint64_t from, uint64_t to);

 private:
  std::shared_ptr<LoopbackHub> hub_;
};

}  // namespace switchyard::transport
