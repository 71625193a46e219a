#include "kernels/elementwise/elementwise_impl.h"

namespace switchyard::kernels {

const ElementwiseKernel kElementwiseAvx512 = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
