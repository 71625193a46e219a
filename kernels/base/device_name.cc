#include "kernels/base/device_name.h"

#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"

namespace switchyard::kernels {

absl::StatusOr<DeviceName> ParseDeviceName(std::string_view name) {
  constexpr std::string_view kNumbered = "cuda:";
  if (name == "cpu") return DeviceName{};
  if (name == "cuda") return DeviceName{.kind = DeviceKind::kCuda};
  if (name.starts_with(kNumbered)) {
    const std::string_view number = name.substr(kNumbered.size());
    unsigned char ordinal = 0;  // no sign is read, and no host has more GPUs
    const auto [end, error] = std::from_chars(number.begin(), number.end(), ordinal);
    if (error == std::errc() && end == number.end()) {
      return DeviceName{.kind = DeviceKind::kCuda, .ordinal = ordinal};
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no device '", std::string(name),
                                                 "': use cpu, cuda:0, cuda:1, ... or cuda, which "
                                                 "is cuda:0"));
}

}  // namespace switchyard::kernels
