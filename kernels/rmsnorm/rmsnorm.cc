#include "kernels/rmsnorm/rmsnorm.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/rmsnorm/rmsnorm_kernel.h"

namespace switchyard::kernels {

void RmsNorm(const RmsNormArgs& args, ThreadPool& pool) {
  RmsNormRow* const normalize =
      ForActiveLevel(&RmsNormRowScalar, &RmsNormRowAvx2, &RmsNormRowAvx512);
  const int64_t row_bytes = args.width * static_cast<int64_t>(SizeOf(args.output_type));
  constexpr int64_t kRowsPerTile = 8;
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t row = tile * kRowsPerTile; row < end; ++row) {
      normalize(args.x + row * args.width, args.weight, args.width, args.epsilon, args.output_type,
                static_cast<char*>(args.y) + row * row_bytes);
    }
  });
}

}  // namespace switchyard::kernels
