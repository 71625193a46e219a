#include "kernels/device/make_device.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/device/cpu_device.h"

namespace switchyard::kernels {

absl::StatusOr<std::unique_ptr<Device>> MakeDevice(std::string_view name, ThreadPool& pool) {
  if (name == "cpu") return std::make_unique<CpuDevice>(pool);
  return absl::InvalidArgumentError(
      absl::StrCat("device ", std::string(name), " is unknown: there is cpu"));
}

}  // namespace switchyard::kernels
