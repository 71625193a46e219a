#pragma once

// Owning, 64-byte aligned, uninitialised memory for weights and workspaces, where the process's
// device reaches it (memory.h). On the host large buffers ask for huge pages; pages are touched
// first by whoever writes them.

#include <cstddef>
#include <cstdint>

namespace switchyard::kernels {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);  // aborts with a message when memory is exhausted
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() { return data_; }
  const void* data() const { return data_; }
  size_t size() const { return size_; }

  template <typename T>
  T* As() {
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* As() const {
    return static_cast<const T*>(data_);
  }

  // Makes room for at least `bytes`; contents are lost when it grows. Never shrinks.
  void Reserve(size_t bytes);

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace switchyard::kernels
