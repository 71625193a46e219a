#include "kernels/base/buffer.h"

#include <utility>

#include "kernels/base/memory.h"

namespace switchyard::kernels {

Buffer::Buffer(size_t bytes) : data_(AllocateMemory(bytes)), size_(bytes) {}

Buffer::~Buffer() { ReleaseMemory(data_); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void Buffer::Reserve(size_t bytes) {
  if (bytes <= size_) return;
  ReleaseMemory(data_);
  data_ = AllocateMemory(bytes);
  size_ = bytes;
}

}  // namespace switchyard::kernels
