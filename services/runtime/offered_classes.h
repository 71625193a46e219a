#pragma once

// The numerics classes that a member offers when it registers.

#include "kernels/device/device.h"
#include "proto/coordinator.pb.h"

namespace switchyard::runtime {

// Those that the device computes. The checkpoint's own type comes first, since whoever registers
// first decides for a pool that was started without a class; class bf16-sm90 comes last: a pool has
// it when it was asked for.
inline void OfferClasses(bool bfloat16_weights, const kernels::Device& device,
                         v1::RegisterRequest& request) {
  request.add_offered(bfloat16_weights ? v1::NUMERICS_BF16 : v1::NUMERICS_FP32);
  request.add_offered(bfloat16_weights ? v1::NUMERICS_FP32 : v1::NUMERICS_BF16);
  if (device.Computes(kernels::NumericsClass::kBf16Sm90)) {
    request.add_offered(v1::NUMERICS_BF16_SM90);
  }
}

}  // namespace switchyard::runtime
