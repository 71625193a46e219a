#include "kernels/matmul/panel_product_impl.h"

namespace switchyard::kernels {

namespace simd = SWITCHYARD_SIMD;

const PanelKernel kPanelFp32Avx2 = {DType::kFloat32, simd::PanelProduct<simd::Fp32Lines, 6>,
                                    simd::CopyRow<float>};
const PanelKernel kPanelBf16Avx2 = {DType::kFloat32, simd::PanelProduct<simd::WidenedBf16Lines, 6>,
                                    simd::WidenRow};

}  // namespace switchyard::kernels
