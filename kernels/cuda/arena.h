#pragma once

// Scratch memory of CUDA that is handed out piece by piece and taken back all at once.

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/memory.h"

namespace switchyard::kernels {

template <MemoryKind kind>
class Arena {
 public:
  // Uninitialised, aligned to 256 bytes, until Reset.
  absl::StatusOr<void*> Take(size_t bytes) {
    const size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (chunks_.empty() || used_ + size > chunks_.back().size()) {
      auto chunk = CudaMemory<kind>::Allocate(size > kLeast ? size : kLeast);
      if (!chunk.ok()) return chunk.status();
      chunks_.push_back(*std::move(chunk));
      used_ = 0;
    }
    void* const piece = chunks_.back().template As<char>() + used_;
    used_ += size;
    taken_ += size;
    return piece;
  }

  // Nothing of it is used any more. Keeps as much in one piece, for the next time.
  absl::Status Reset() {
    if (chunks_.size() > 1) {
      chunks_.clear();
      auto chunk = CudaMemory<kind>::Allocate(taken_);
      if (!chunk.ok()) return chunk.status();
      chunks_.push_back(*std::move(chunk));
    }
    used_ = taken_ = 0;
    return absl::OkStatus();
  }

  size_t taken() const { return taken_; }  // bytes since Reset

 private:
  static constexpr size_t kAlignment = 256;
  static constexpr size_t kLeast = size_t{1} << 20;

  std::vector<CudaMemory<kind>> chunks_;
  size_t used_ = 0;  // of the last chunk
  size_t taken_ = 0;
};

}  // namespace switchyard::kernels
