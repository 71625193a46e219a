#pragma once

// What the scheduler planned as the pipeline takes it.

#include "router_service/micro_batch.h"
#include "router_service/scheduler.h"

namespace switchyard::router {

// Points into the chunk's sequence.
SequenceChunk ChunkOf(const PlannedChunk& chunk, bool encoder);

}  // namespace switchyard::router
