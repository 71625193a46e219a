#pragma once

// Owning memory that CUDA allocates: of a device, of the host but page-locked, or shared by both.
// Uninitialised, aligned to 256 bytes; belongs to the device that was the allocating thread's
// current one. Move-only; may be used and released by any thread, once the device no longer uses
// it.

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"

namespace switchyard::kernels {

enum class MemoryKind {
  kDevice,   // the device's own; the host cannot read it
  kPinned,   // the host's, page-locked: what copies to and from devices run at full speed with
  kUnified,  // pages move to whoever touches them
};

template <MemoryKind kind>
class CudaMemory {
 public:
  CudaMemory() = default;
  static absl::StatusOr<CudaMemory> Allocate(size_t bytes);  // 0 allocates nothing

  void* data() const { return data_.get(); }
  size_t size() const { return data_ == nullptr ? 0 : size_; }

  template <typename T>
  T* As() const {
    return static_cast<T*>(data_.get());
  }

 private:
  struct Release {
    void operator()(void* data) const;
  };

  CudaMemory(void* data, size_t size) : data_(data), size_(size) {}

  std::unique_ptr<void, Release> data_;
  size_t size_ = 0;
};

using DeviceMemory = CudaMemory<MemoryKind::kDevice>;
using PinnedMemory = CudaMemory<MemoryKind::kPinned>;
using UnifiedMemory = CudaMemory<MemoryKind::kUnified>;

extern template class CudaMemory<MemoryKind::kDevice>;
extern template class CudaMemory<MemoryKind::kPinned>;
extern template class CudaMemory<MemoryKind::kUnified>;

}  // namespace switchyard::kernels
