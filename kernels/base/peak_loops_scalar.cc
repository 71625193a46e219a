#include "kernels/base/peak_loops_impl.h"

namespace switchyard::kernels {

const PeakLoop kFmaPeakScalar = SWITCHYARD_SIMD::kFmaPeak<2>;
const ReadLoop kReadScalar = SWITCHYARD_SIMD::ReadLines;

}  // namespace switchyard::kernels
