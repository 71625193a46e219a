#pragma once

// Where weights, caches and workspaces lie: in the host's memory, or in memory that a GPU reaches
// at the same addresses as the host. A process computes on one device, so there is one source,
// chosen before anything is allocated.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace switchyard::kernels {

// Memory aligned to at least 64 bytes. Both functions are called from any thread; `allocate` aborts
// with a message when memory is exhausted.
struct MemorySource {
  void* (*allocate)(size_t bytes);
  void (*release)(void* data);
};

// Replaces the host's memory. Must come before the first Buffer and DeviceVector, and once: in the
// program and, which has a copy of this code, in the shared object of CUDA.
void SetMemorySource(const MemorySource& source);

// nullptr for 0 bytes.
void* AllocateMemory(size_t bytes);
void ReleaseMemory(void* data);

// Of this machine, however much of it is in use.
int64_t HostMemoryBytes();

template <typename T>
struct DeviceAllocator {
  using value_type = T;
  DeviceAllocator() = default;
  template <typename U>
  DeviceAllocator(const DeviceAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(size_t count) { return static_cast<T*>(AllocateMemory(count * sizeof(T))); }
  void deallocate(T* data, size_t) { ReleaseMemory(data); }
  bool operator==(const DeviceAllocator&) const = default;
};

template <typename T>
using DeviceVector = std::vector<T, DeviceAllocator<T>>;

// Vectors of weights that kernels read: of norms, biases, sinks.
using Floats = DeviceVector<float>;

}  // namespace switchyard::kernels
