#include "kernels/base/peak_loops_impl.h"

namespace switchyard::kernels {

const PeakLoop kFmaPeakAvx512 = SWITCHYARD_SIMD::kFmaPeak<12>;
const ReadLoop kReadAvx512 = SWITCHYARD_SIMD::ReadLines;

}  // namespace switchyard::kernels
