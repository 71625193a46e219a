#pragma once

// Links between GPUs (gpu_links.h) by NCCL. Each is a communicator of two ranks, rank 0 its sender:
// a communicator runs one thing after another, so with one for both ways two sends could wait for
// each other. Communicators do not block: calls return at once and the state is asked for.

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/gpu_links.h"
#include "kernels/cuda/link_cuda.h"
#include "kernels/cuda/nccl_library.h"

namespace switchyard::kernels {

std::unique_ptr<GpuLinks> MakeNcclLinks(const NcclLibrary& nccl, std::shared_ptr<LinkCuda> cuda);

// Of GPU `ordinal`, by the NCCL that LoadNccl finds.
absl::StatusOr<std::unique_ptr<GpuLinks>> MakeNcclLinks(int ordinal);

}  // namespace switchyard::kernels
