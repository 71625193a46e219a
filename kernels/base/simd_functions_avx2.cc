#include "kernels/base/simd_functions_impl.h"

namespace switchyard::kernels {

const VectorFunctions kVectorFunctionsAvx2 = SWITCHYARD_SIMD::kVectorFunctions;

}  // namespace switchyard::kernels
