#include "kernels/attention/attention_impl.h"

namespace switchyard::kernels {

const AttentionKernel kAttentionScalar = {SWITCHYARD_SIMD::AttendBlockOfType,
                                          SWITCHYARD_SIMD::Merge, SWITCHYARD_SIMD::Finish};

}  // namespace switchyard::kernels
