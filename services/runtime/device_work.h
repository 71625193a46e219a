#pragma once

// What roles ask of a device, and the waits for it. After a device's error nothing in its memory
// can be trusted, KV caches and weights included, and most such errors end the process's use of a
// GPU: so the role ends and is started again, and its work goes on elsewhere meanwhile, as when it
// is killed.

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "services/base/check.h"

namespace switchyard {

// Weights of a class that the device lacks would give other numbers without a word.
inline absl::Status CheckComputes(const kernels::Device& device, kernels::NumericsClass numerics) {
  if (device.Computes(numerics)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("class ", std::string(kernels::Name(numerics)), " is none that device ",
                   std::string(device.name()), " computes: give the pool another one (--dtype)"));
}

inline void FinishOn(kernels::Device& device) {
  const absl::Status status = device.Finish();
  CHECK(status.ok()) << "device " << device.name() << ": " << status;
}

inline void SampleOn(kernels::Device& device, const kernels::SampleArgs& args) {
  const absl::Status status = device.Sample(args);
  CHECK(status.ok()) << "device " << device.name() << ", sampling: " << status;
}

}  // namespace switchyard
