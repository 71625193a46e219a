#pragma once

// Where links between GPUs end. An abort may wait long for the device, and for the aborts of other
// links to the same dead peer, so each has a thread of its own, and memory that transfers use stays
// until they are over.

#include <cstddef>
#include <memory>

#include "kernels/cuda/gpu_links.h"
#include "services/base/clock.h"

namespace switchyard::transport {

// Bury is thread-safe.
class LinkGraveyard {
 public:
  LinkGraveyard();
  ~LinkGraveyard();  // what is not over goes on by itself

  // Aborts the link (null: there is none), then lets go of the memory. Returns at once.
  void Bury(std::unique_ptr<kernels::GpuLink> link, std::shared_ptr<std::byte> memory);

  // Waits until everything buried is gone; false when it is not by then.
  bool WaitUntilEmpty(Duration patience);

 private:
  struct Count;
  const std::shared_ptr<Count> count_;
};

}  // namespace switchyard::transport
