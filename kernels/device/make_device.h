#pragma once

// The device that an option names.

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/device/device.h"

namespace switchyard::kernels {

// `name`: "cpu". InvalidArgument for any other, saying what there is. The pool must outlive it.
absl::StatusOr<std::unique_ptr<Device>> MakeDevice(std::string_view name, ThreadPool& pool);

}  // namespace switchyard::kernels
