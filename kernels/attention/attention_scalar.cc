#include "kernels/attention/attention_impl.h"

namespace switchyard::kernels {

const AttentionKernel kAttentionScalar = SWITCHYARD_SIMD::kKernel;

}  // namespace switchyard::kernels
