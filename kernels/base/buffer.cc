#include "kernels/base/buffer.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace switchyard::kernels {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* Allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  // Not aligned_alloc, which wants the size to be a multiple of the alignment as well.
  void* data = nullptr;
  if (posix_memalign(&data, alignment, RoundUp(bytes, kCacheLine)) != 0) {
    std::fprintf(stderr, "out of memory: cannot allocate %zu bytes for weights or workspace\n",
                 bytes);
    std::abort();
  }
  // Advice only: without huge pages everything still works.
  if (bytes >= kHugePage) (void)madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

Buffer::Buffer(size_t bytes) : data_(Allocate(bytes)), size_(bytes) {}

Buffer::~Buffer() { std::free(data_); }

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void Buffer::Reserve(size_t bytes) {
  if (bytes <= size_) return;
  std::free(data_);
  data_ = Allocate(bytes);
  size_ = bytes;
}

}  // namespace switchyard::kernels
