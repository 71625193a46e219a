#pragma once

// Links between "GPUs" of one process without any device, for tests: the code of NCCL links over
// fake_nccl.so and memory of the host.

#include <memory>

#include "kernels/cuda/fake_nccl.h"
#include "kernels/cuda/gpu_links.h"

namespace switchyard::kernels {

// kernels/cuda/fake_nccl.so must be among the test's data.
std::unique_ptr<GpuLinks> MakeFakeGpuLinks();

// Steers all of them.
FakeNccl& TheFakeNccl();

}  // namespace switchyard::kernels
