#pragma once

// The NCCL backend: payloads go from GPU to GPU by NCCL, over communicators of two ranks for each
// channel, so that the death of one peer aborts its own and no others. Headers, metadata, credits
// and liveness go over a transport of another backend, which it takes over. Optional: the UCX
// backend alone survives losses with less to rebuild. docs/transport.md describes it.

#include <memory>

#include "kernels/cuda/gpu_links.h"
#include "services/transport/nccl_options.h"
#include "services/transport/transport.h"

namespace switchyard::transport {

// `headers` is the new transport's own from now on; both sides of a channel need the same kind.
std::unique_ptr<Transport> MakeNcclTransport(std::unique_ptr<Transport> headers,
                                             std::unique_ptr<kernels::GpuLinks> links,
                                             const NcclOptions& options);

}  // namespace switchyard::transport
