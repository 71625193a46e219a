#pragma once

// How assignments of a layer become a dispatch frame: each token's row once, then who wants it.

#include <cstddef>
#include <cstdint>
#include <span>

#include "router_service/layer_in_flight.h"
#include "services/transport/frame.h"
#include "services/transport/transport.h"

namespace switchyard::router {

// How many of the leading assignments (ascending, all for one host) go into one frame, at most
// `most`. A row whose answer was not finite goes alone, so that no other row shares its fate.
size_t FrameLength(const LayerInFlight& layer, std::span<const AssignmentIndex> assignments,
                   size_t most);

// Writes rows and metadata into the slot and their counts into the header.
void FillFrame(const LayerInFlight& layer, std::span<const AssignmentIndex> assignments,
               uint32_t row_bytes, transport::SendSlot& slot, transport::FrameHeader& header);

}  // namespace switchyard::router
