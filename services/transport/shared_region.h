#pragma once

// The memory that one side of a channel owns and the other maps: a side writes only into its own,
// so a peer that dies at any instruction leaves nothing half-locked. Layout, offsets aligned to 64
// bytes:
//
//   0    asleep      u32  the owner sleeps and wants a ring when something is posted
//   64   doorbells   u64 per slot: frame n of the channel (from 1) is at n % slots as n << 8 | slot
//   ...  credits     u64 per slot: the same for slots given back to the peer
//   ...  slots       SlotBytes(layout) each: what the owner sends

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "services/transport/slot_image.h"

namespace switchyard::transport {

class SharedRegion {
 public:
  SharedRegion() = default;
  SharedRegion(std::byte* base, const SlotLayout& layout) : base_(base), layout_(layout) {}

  static size_t Bytes(const SlotLayout& layout) {
    return kImageAlignment + 2 * RingBytes(layout) + SlotBytes(layout) * layout.slots;
  }

  std::atomic_ref<uint32_t> asleep() const {
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(base_));
  }
  std::atomic_ref<uint64_t> doorbell(uint64_t number) const {
    return Ring(kImageAlignment, number);
  }
  std::atomic_ref<uint64_t> credit(uint64_t number) const {
    return Ring(kImageAlignment + RingBytes(layout_), number);
  }
  std::byte* slot(uint32_t index) const {
    return base_ + kImageAlignment + 2 * RingBytes(layout_) + SlotBytes(layout_) * index;
  }

 private:
  static size_t RingBytes(const SlotLayout& layout) {
    const size_t bytes = layout.slots * sizeof(uint64_t);
    return (bytes + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
  }
  std::atomic_ref<uint64_t> Ring(size_t offset, uint64_t number) const {
    return std::atomic_ref(reinterpret_cast<uint64_t*>(base_ + offset)[number % layout_.slots]);
  }

  std::byte* base_ = nullptr;
  SlotLayout layout_;
};

}  // namespace switchyard::transport
