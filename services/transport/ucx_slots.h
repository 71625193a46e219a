#pragma once

// The memory of a channel's slots: images in a region that peers can map, or, where payloads have
// memory of their own, images without rows and the payloads elsewhere.

#include <ucs/memory/memory_type.h>

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "services/transport/shared_region.h"
#include "services/transport/ucx_options.h"
#include "services/transport/ucx_worker.h"

namespace switchyard::transport {

// Must not outlive its worker.
class UcxSlots {
 public:
  // Aborts when the source of payload memory is exhausted.
  static absl::StatusOr<std::unique_ptr<UcxSlots>> Allocate(UcxWorker& worker,
                                                            const UcxOptions& options,
                                                            const SlotLayout& layout);

  const UcxRegion& region() const { return *region_; }
  bool has_payload_memory() const { return payloads_ != nullptr; }

  // Of what this side sends: the image's beginning, and where the caller writes.
  std::byte* image(uint32_t slot) const { return images_.slot(slot); }
  std::span<std::byte> metadata(uint32_t slot) const {
    return SendMetadata(image(slot), image_layout_);
  }
  std::span<std::byte> payload(uint32_t slot) const;

  // Where a payload of the peer's goes; null without payload memory.
  std::byte* arriving_payload(uint32_t slot) const;

  // Of payloads, both ways.
  ucs_memory_type_t memory_type() const { return memory_type_; }

 private:
  UcxSlots(const SlotLayout& layout, const SlotLayout& image_layout,
           std::unique_ptr<UcxRegion> region);
  std::byte* Payload(size_t index) const;

  const SlotLayout layout_;
  const SlotLayout image_layout_;
  const std::unique_ptr<UcxRegion> region_;
  const SharedRegion images_;
  std::unique_ptr<void, void (*)(void*)> payloads_{nullptr, nullptr};  // ours, then the peer's
  ucs_memory_type_t memory_type_ = UCS_MEMORY_TYPE_HOST;
};

}  // namespace switchyard::transport
