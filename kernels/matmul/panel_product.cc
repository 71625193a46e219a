#include "kernels/matmul/panel_product.h"

namespace switchyard::kernels {

const PanelKernel& PanelKernelFor(NumericsClass numerics, CpuLevel level) {
  const bool fp32 = numerics == NumericsClass::kFp32;
  switch (level) {
    case CpuLevel::kScalar:
      break;
    case CpuLevel::kAvx2:
      return fp32 ? kPanelFp32Avx2 : kPanelBf16Avx2;
    case CpuLevel::kAvx512:
      return fp32 ? kPanelFp32Avx512 : kPanelBf16Avx512;
    case CpuLevel::kAvx512Bf16:
      return fp32 ? kPanelFp32Avx512 : kPanelBf16Avx512Bf16;
  }
  return fp32 ? kPanelFp32Scalar : kPanelBf16Scalar;
}

}  // namespace switchyard::kernels
