#include "kernels/elementwise/elementwise_impl.h"

namespace switchyard::kernels {

const ElementwiseKernel kElementwiseScalar = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
