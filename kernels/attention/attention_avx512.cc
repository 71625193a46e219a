#include "kernels/attention/attention_impl.h"

namespace switchyard::kernels {

const AttentionKernel kAttentionAvx512 = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
