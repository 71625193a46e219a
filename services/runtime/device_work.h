#pragma once

// The waits for a device. After a device's error nothing in its memory can be trusted, KV caches
// and weights included, and most such errors end the process's use of a GPU: so the role ends and
// is started again, and its work goes on elsewhere meanwhile, as when it is killed.

#include "kernels/device/device.h"
#include "services/base/check.h"

namespace switchyard {

inline void FinishOn(kernels::Device& device) {
  const absl::Status status = device.Finish();
  CHECK(status.ok()) << "device " << device.name() << ": " << status;
}

inline void SampleOn(kernels::Device& device, const kernels::SampleArgs& args) {
  const absl::Status status = device.Sample(args);
  CHECK(status.ok()) << "device " << device.name() << ", sampling: " << status;
}

}  // namespace switchyard
