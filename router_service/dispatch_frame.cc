#include "router_service/dispatch_frame.h"

#include <algorithm>
#include <cstring>

namespace switchyard::router {

size_t FrameLength(const LayerInFlight& layer, std::span<const AssignmentIndex> assignments,
                   size_t most) {
  const bool alone = layer.NotFiniteAt(assignments.front()) != 0;
  size_t length = 1;
  for (; length < std::min(assignments.size(), most); ++length) {
    const AssignmentIndex next = assignments[length];
    if ((layer.NotFiniteAt(next) != 0) != alone) break;
    if (alone && layer.RowOf(next) != layer.RowOf(assignments.front())) break;
  }
  return length;
}

void FillFrame(const LayerInFlight& layer, std::span<const AssignmentIndex> assignments,
               uint32_t row_bytes, transport::SendSlot& slot, transport::FrameHeader& header) {
  std::byte* const payload = slot.payload().data();
  uint32_t last_row = 0;
  header.rows = 0;
  for (size_t i = 0; i < assignments.size(); ++i) {
    const uint32_t row = layer.RowOf(assignments[i]);
    if (i == 0 || row != last_row) {
      std::memcpy(payload + size_t{header.rows} * row_bytes,
                  layer.request().activations + size_t{row} * row_bytes, row_bytes);
      ++header.rows;
      last_row = row;
    }
    const transport::Assignment assignment = {header.rows - 1, layer.ExpertOf(assignments[i]),
                                              layer.request().weights[assignments[i]]};
    transport::EncodeAssignments(
        {&assignment, 1},
        slot.metadata().subspan(i * transport::kAssignmentBytes, transport::kAssignmentBytes));
  }
  header.row_bytes = row_bytes;
  header.metadata_bytes = static_cast<uint32_t>(assignments.size() * transport::kAssignmentBytes);
}

}  // namespace switchyard::router
