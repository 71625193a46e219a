#include "kernels/layernorm/layernorm.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/layernorm/layernorm_kernel.h"

namespace switchyard::kernels {

void LayerNorm(const LayerNormArgs& args, ThreadPool& pool) {
  LayerNormRow* const normalize =
      ForActiveLevel(&LayerNormRowScalar, &LayerNormRowAvx2, &LayerNormRowAvx512);
  constexpr int64_t kRowsPerTile = 8;
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t row = tile * kRowsPerTile; row < end; ++row) normalize(args, row);
  });
}

}  // namespace switchyard::kernels
