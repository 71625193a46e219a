#include "kernels/matmul/dot_bf16_lines.h"

namespace switchyard::kernels {

namespace simd = SWITCHYARD_SIMD;

const PanelKernel kPanelBf16Avx512Bf16 = {
    DType::kBfloat16, simd::PanelProduct<simd::DotBf16Lines, 12>, simd::CopyRow<uint16_t>};

}  // namespace switchyard::kernels
