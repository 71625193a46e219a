#include "services/transport/ucx_slots.h"

#include <algorithm>
#include <utility>

#include "services/base/status_macros.h"

namespace switchyard::transport {
namespace {

// So that transfers of whole payloads by a GPU are aligned for it.
constexpr size_t kPayloadAlignment = 256;

size_t PayloadStride(const SlotLayout& layout) {
  return (PayloadBytes(layout) + kPayloadAlignment - 1) / kPayloadAlignment * kPayloadAlignment;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxSlots>> UcxSlots::Allocate(UcxWorker& worker,
                                                             const UcxOptions& options,
                                                             const SlotLayout& layout) {
  SlotLayout image_layout = layout;
  if (options.payload_memory) image_layout.rows = 0;
  ASSIGN_OR_RETURN(auto region, worker.Allocate(SharedRegion::Bytes(image_layout)));
  std::unique_ptr<UcxSlots> slots(new UcxSlots(layout, image_layout, std::move(region)));
  if (options.payload_memory) {
    const kernels::MemorySource& source = options.payload_memory->source;
    const size_t bytes = std::max(2 * layout.slots * PayloadStride(layout), kPayloadAlignment);
    slots->payloads_ = {source.allocate(bytes), source.release};
    if (options.payload_memory->cuda) slots->memory_type_ = UCS_MEMORY_TYPE_CUDA_MANAGED;
  }
  return slots;
}

UcxSlots::UcxSlots(const SlotLayout& layout, const SlotLayout& image_layout,
                   std::unique_ptr<UcxRegion> region)
    : layout_(layout),
      image_layout_(image_layout),
      region_(std::move(region)),
      images_(region_->data(), image_layout) {}

std::byte* UcxSlots::Payload(size_t index) const {
  return static_cast<std::byte*>(payloads_.get()) + PayloadStride(layout_) * index;
}

std::span<std::byte> UcxSlots::payload(uint32_t slot) const {
  if (!has_payload_memory()) return SendPayload(image(slot), image_layout_);
  return {Payload(slot), PayloadBytes(layout_)};
}

std::byte* UcxSlots::arriving_payload(uint32_t slot) const {
  return has_payload_memory() ? Payload(layout_.slots + size_t{slot}) : nullptr;
}

}  // namespace switchyard::transport
