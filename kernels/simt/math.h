#pragma once

// The elementary functions of kernels/base/math.h and the 16-lane sum inside a kernel (simt.h): the
// same source, hence the same bits. Not to be included beside kernels/base/simd.h.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/base/bf16.h"
#include "kernels/base/lane_sum.h"
#include "kernels/base/numerics.h"
#include "kernels/simt/simt.h"

#define SWITCHYARD_SIMD simt
#define SWITCHYARD_INLINE SWITCHYARD_SIMT
#include "kernels/base/simd_math.h"
#undef SWITCHYARD_SIMD
#undef SWITCHYARD_INLINE

namespace switchyard::kernels::simt {

SWITCHYARD_SIMT float LoadElement(const void* data, DType type, int64_t index) {
  return type == DType::kFloat32 ? static_cast<const float*>(data)[index]
                                 : Bf16ToFloat(static_cast<const uint16_t*>(data)[index]);
}

// Rounded to nearest even where the type is bf16.
SWITCHYARD_SIMT void StoreElement(float value, void* data, DType type, int64_t index) {
  if (type == DType::kFloat32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] = FloatToBf16(value);
  }
}

}  // namespace switchyard::kernels::simt
