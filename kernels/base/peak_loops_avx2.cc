#include "kernels/base/peak_loops_impl.h"

namespace switchyard::kernels {

const PeakLoop kFmaPeakAvx2 = SWITCHYARD_SIMD::kFmaPeak<6>;
const ReadLoop kReadAvx2 = SWITCHYARD_SIMD::ReadLines;

}  // namespace switchyard::kernels
