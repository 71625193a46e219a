#include "kernels/rope/rope_impl.h"

namespace switchyard::kernels {

const RopeKernel kRopeScalar = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
