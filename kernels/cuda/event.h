#pragma once

// A point in the work of a stream, for which the host and other streams can wait.

#include <cuda_runtime.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"

namespace switchyard::kernels {

// Takes no times. Before the first Record it counts as reached. Move-only; used by one thread at a
// time.
class Event {
 public:
  static absl::StatusOr<Event> Create();

  // Is reached when all work put on `stream` so far has run; forgets an earlier Record.
  absl::Status Record(const Stream& stream) const;

  // What is put on `stream` from now on runs after the event. Does not block the host.
  absl::Status MakeWait(const Stream& stream) const;

  absl::StatusOr<bool> Reached() const;
  absl::Status Synchronize() const;  // blocks the host until it is reached

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { (void)cudaEventDestroy(event); }
  };

  explicit Event(cudaEvent_t event) : event_(event) {}

  std::unique_ptr<CUevent_st, Destroy> event_;
};

}  // namespace switchyard::kernels
