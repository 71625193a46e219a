#pragma once

// Owned, uninitialised bytes that start on a cache line.

#include <cstddef>
#include <memory>
#include <new>

namespace switchyard::transport {

inline constexpr std::align_val_t kCacheLine{64};

struct FreeAligned {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, kCacheLine); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

inline AlignedBytes AllocateAligned(size_t bytes) {
  return AlignedBytes(static_cast<std::byte*>(::operator new[](bytes, kCacheLine)));
}

}  // namespace switchyard::transport
