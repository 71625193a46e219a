#include "kernels/attention/attention_impl.h"

namespace switchyard::kernels {

const AttentionKernel kAttentionAvx512 = {SWITCHYARD_SIMD::AttendBlockOfType,
                                          SWITCHYARD_SIMD::Merge, SWITCHYARD_SIMD::Finish};

}  // namespace switchyard::kernels
