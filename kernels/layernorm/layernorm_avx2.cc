#include "kernels/layernorm/layernorm_impl.h"

namespace switchyard::kernels {

void LayerNormRowAvx2(const LayerNormArgs& args, int64_t row) {
  SWITCHYARD_SIMD::NormalizeRow(args, row);
}

}  // namespace switchyard::kernels
