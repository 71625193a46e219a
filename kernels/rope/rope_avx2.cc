#include "kernels/rope/rope_impl.h"

namespace switchyard::kernels {

const RopeKernel kRopeAvx2 = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
