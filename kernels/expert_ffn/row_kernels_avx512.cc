#include "kernels/expert_ffn/row_kernels_impl.h"

namespace switchyard::kernels {

const RowKernels kRowKernelsAvx512 = SWITCHYARD_SIMD::kRowKernels;

}  // namespace switchyard::kernels
