#include "kernels/base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace switchyard::kernels {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* AllocateOnHost(size_t bytes) {
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

MemorySource g_source = {.allocate = AllocateOnHost, .release = std::free};

}  // namespace

void SetMemorySource(const MemorySource& source) { g_source = source; }

void* AllocateMemory(size_t bytes) { return bytes == 0 ? nullptr : g_source.allocate(bytes); }

void ReleaseMemory(void* data) {
  if (data != nullptr) g_source.release(data);
}

int64_t HostMemoryBytes() { return sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE); }

}  // namespace switchyard::kernels
