#include "kernels/elementwise/elementwise_impl.h"

namespace switchyard::kernels {

const ElementwiseKernel kElementwiseAvx2 = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
