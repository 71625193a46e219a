#pragma once

// A GPU as a device (kernels/device/device.h), and the memory that it shares with the host.

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/base/memory.h"
#include "kernels/device/device.h"

namespace switchyard::kernels {

// GPU `ordinal`; an error says why it cannot be used. The pool must outlive it. The first one makes
// unified memory the source of what this shared object allocates.
absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int ordinal, ThreadPool& pool);

// Unified memory: the same addresses on the host and every GPU, pages where they were last touched.
MemorySource UnifiedMemorySource();

}  // namespace switchyard::kernels
