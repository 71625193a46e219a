#include "kernels/rope/rope.h"

#include <algorithm>

#include "kernels/base/for_level.h"
#include "kernels/rope/rope_kernel.h"

namespace switchyard::kernels {

void Rope(const RopeArgs& args, ThreadPool& pool) {
  const RopeKernel& kernel = *ForActiveLevel(&kRopeScalar, &kRopeAvx2, &kRopeAvx512);
  const auto rotate = args.interleaved ? kernel.interleaved : kernel.half_split;
  const RopeTable& table = *args.table;
  constexpr int64_t kRowsPerTile = 8;
  pool.ParallelFor((args.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kRowsPerTile, args.rows);
    for (int64_t row = tile * kRowsPerTile; row < end; ++row) {
      rotate({.x = args.x + row * args.row_stride,
              .heads = args.heads,
              .head_dim = args.head_dim,
              .position = static_cast<float>(args.positions[row]),
              .inverse_frequency = table.inverse_frequency.data(),
              .half = static_cast<int64_t>(table.inverse_frequency.size()),
              .attention_factor = table.attention_factor});
    }
  });
}

}  // namespace switchyard::kernels
