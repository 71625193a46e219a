#include "kernels/expert_ffn/finite.h"

#include "kernels/base/cpu.h"
#include "kernels/expert_ffn/row_kernels.h"

namespace switchyard::kernels {

bool AllFinite(const void* row, DType type, int64_t n) {
  return RowKernelsFor(ActiveCpuLevel()).all_finite(row, type, n);
}

}  // namespace switchyard::kernels
