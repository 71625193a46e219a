#include "kernels/base/simd_functions_impl.h"

namespace switchyard::kernels {

const VectorFunctions kVectorFunctionsAvx512 = SWITCHYARD_SIMD::kVectorFunctions;

}  // namespace switchyard::kernels
