#include "kernels/base/simd_functions_impl.h"

namespace switchyard::kernels {

const VectorFunctions kVectorFunctionsScalar = SWITCHYARD_SIMD::kVectorFunctions;

}  // namespace switchyard::kernels
