#pragma once

// The lane over shared memory: the sender writes into its own slots, the receiver reads them in
// place. A frame costs one store of a doorbell, a credit one store of a credit; nothing is copied
// but the header and the metadata, which the receiver checks and therefore must not see change.

#include <cstdint>
#include <functional>
#include <memory>

#include "services/transport/lane.h"
#include "services/transport/shared_region.h"
#include "services/transport/slot_image.h"

namespace switchyard::transport {

// `mine` and `theirs` start zeroed and must outlive the lane. `ring` wakes the peer.
std::unique_ptr<Lane> MakeSharedLane(const SlotLayout& layout, SharedRegion mine,
                                     SharedRegion theirs, std::function<void()> ring);

}  // namespace switchyard::transport
