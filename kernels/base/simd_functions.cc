#include "kernels/base/simd_functions.h"

namespace switchyard::kernels {

const VectorFunctions& VectorFunctionsFor(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      break;
    case CpuLevel::kAvx2:
      return kVectorFunctionsAvx2;
    case CpuLevel::kAvx512:
    case CpuLevel::kAvx512Bf16:
      return kVectorFunctionsAvx512;
  }
  return kVectorFunctionsScalar;
}

}  // namespace switchyard::kernels
