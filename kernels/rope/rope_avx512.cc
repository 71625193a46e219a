#include "kernels/rope/rope_impl.h"

namespace switchyard::kernels {

const RopeKernel kRopeAvx512 = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
