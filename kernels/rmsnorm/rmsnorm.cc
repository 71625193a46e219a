#include "kernels/rmsnorm/rmsnorm.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/rmsnorm/rmsnorm_kernel.h"

namespace switchyard::kernels {

void RmsNorm(const RmsNormArgs& args, ThreadPool& pool) {
  RmsNormRow* const normalize =
      ForActiveLevel(&RmsNormRowScalar, &RmsNormRowAvx2, &RmsNormRowAvx512);
  const int64_t size = static_cast<int64_t>(SizeOf(args.output_type));
  const int64_t vectors = args.rows * args.heads;
  // Heads are short: enough of them that a tile is worth handing to a thread.
  const int64_t per_tile = std::max<int64_t>(8, 8192 / args.width);
  pool.ParallelFor((vectors + per_tile - 1) / per_tile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * per_tile, vectors);
    for (int64_t i = tile * per_tile; i < end; ++i) {
      normalize(args.x + args.Offset(i, args.x_stride), args.weight, args.width, args.epsilon,
                args.output_type,
                static_cast<char*>(args.y) + args.Offset(i, args.y_stride) * size);
    }
  });
}

}  // namespace switchyard::kernels
