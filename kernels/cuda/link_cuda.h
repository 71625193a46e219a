#pragma once

// The little that links need of the CUDA runtime, so that tests of them need no device.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// A stream on which transfers run one after another. Used by one thread at a time.
class LinkStream {
 public:
  virtual ~LinkStream() = default;
  virtual cudaStream_t get() const = 0;

  // Everything put on the stream so far belongs to transfer `number` or earlier ones; at most
  // kMaxGpuTransfers recorded transfers may be unfinished.
  virtual absl::Status Record(uint64_t number) = 0;

  // Whether a recorded transfer has run.
  virtual absl::StatusOr<bool> Reached(uint64_t number) = 0;

  // Waits until nothing runs on it.
  virtual absl::Status Synchronize() = 0;
};

// Thread-safe.
class LinkCuda {
 public:
  virtual ~LinkCuda() = default;

  // Makes the device the calling thread's current one, as NCCL's calls want it.
  virtual absl::Status MakeCurrent() = 0;
  virtual absl::StatusOr<std::unique_ptr<LinkStream>> MakeStream() = 0;

  // As GpuLinks::Allocate.
  virtual absl::StatusOr<std::shared_ptr<std::byte>> Allocate(size_t bytes) = 0;
};

// CUDA's GPU `ordinal`; an error says why it cannot be used.
absl::StatusOr<std::shared_ptr<LinkCuda>> MakeLinkCuda(int ordinal);

}  // namespace switchyard::kernels
