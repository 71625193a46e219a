#include "kernels/matmul/panel_product_impl.h"

namespace switchyard::kernels {

namespace simd = SWITCHYARD_SIMD;

const PanelKernel kPanelFp32Scalar = {DType::kFloat32, simd::PanelProduct<simd::Fp32Lines, 2>,
                                      simd::CopyRow<float>};
const PanelKernel kPanelBf16Scalar = {
    DType::kFloat32, simd::PanelProduct<simd::WidenedBf16Lines, 2>, simd::WidenRow};

}  // namespace switchyard::kernels
