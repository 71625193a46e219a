#include "kernels/expert_ffn/row_kernels.h"

namespace switchyard::kernels {

const RowKernels& RowKernelsFor(CpuLevel level) {
  switch (level) {
    case CpuLevel::kScalar:
      break;
    case CpuLevel::kAvx2:
      return kRowKernelsAvx2;
    case CpuLevel::kAvx512:
    case CpuLevel::kAvx512Bf16:
      return kRowKernelsAvx512;
  }
  return kRowKernelsScalar;
}

}  // namespace switchyard::kernels
