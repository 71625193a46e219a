#pragma once

// The device that an option names.

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/device/device.h"

namespace switchyard::kernels {

// `name`: device_name.h says what there is. The first GPU also makes what the process allocates
// from then on unified memory (kernels/base/memory.h), so it must come before any weights. An error
// says what is wrong with the name, or why that device cannot be used. The pool must outlive it.
absl::StatusOr<std::unique_ptr<Device>> MakeDevice(std::string_view name, ThreadPool& pool);

}  // namespace switchyard::kernels
