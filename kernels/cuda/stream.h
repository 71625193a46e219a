#pragma once

// A queue of work of one device: what is put on it runs in that order, beside other streams.

#include <cuda_runtime.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard::kernels {

// Of the device that was the creating thread's current one. Destroying it does not wait for its
// work. Move-only; used by one thread at a time.
class Stream {
 public:
  static absl::StatusOr<Stream> Create();

  cudaStream_t get() const { return stream_.get(); }

  // Waits for all its work; the error is that of the first work that failed.
  absl::Status Synchronize() const;

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const { (void)cudaStreamDestroy(stream); }
  };

  explicit Stream(cudaStream_t stream) : stream_(stream) {}

  std::unique_ptr<CUstream_st, Destroy> stream_;
};

}  // namespace switchyard::kernels
