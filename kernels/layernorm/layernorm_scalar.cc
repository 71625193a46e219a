#include "kernels/layernorm/layernorm_impl.h"

namespace switchyard::kernels {

void LayerNormRowScalar(const LayerNormArgs& args, int64_t row) {
  SWITCHYARD_SIMD::NormalizeRow(args, row);
}

}  // namespace switchyard::kernels
