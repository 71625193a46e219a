#include "kernels/rope/rope.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/rope/rope_kernel.h"

namespace switchyard::kernels {

void Rope(const RopeArgs& args, ThreadPool& pool) {
  RopeRow* const rotate = ForActiveLevel(&RopeRowScalar, &RopeRowAvx2, &RopeRowAvx512);
  const RopeTable& table = *args.table;
  constexpr int64_t kRowsPerTile = 8;
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t row = tile * kRowsPerTile; row < end; ++row) {
      rotate(args.x + row * args.row_stride, args.heads, args.head_dim,
             static_cast<float>(args.positions[row]), table.inverse_frequency.data(),
             static_cast<int64_t>(table.inverse_frequency.size()), table.attention_factor);
    }
  });
}

}  // namespace switchyard::kernels
