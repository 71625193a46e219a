#include "kernels/expert_ffn/grouped_gemm_plan.h"

#include <algorithm>

namespace switchyard::kernels::grouped {
namespace {

int64_t CountTiles(std::span<const RowGroup> groups, int32_t row_tiles) {
  int64_t tiles = 0;
  for (const RowGroup& group : groups) tiles += TilesOfGroup(group.rows, row_tiles);
  return tiles;
}

int32_t RowTiles(const ProductShape& weights, int warpgroups) {
  return static_cast<int32_t>(CeilDiv(weights.blocks(), warpgroups));
}

// As many stages as fit: with few tokens it is the weights under way that hide the memory's
// latency. More than the product has steps are of use too, for the next tile.
int Stages(int warpgroups, int width) {
  SharedLayout shared{.warpgroups = warpgroups, .width = width, .stages = kLeastStages};
  while (true) {
    SharedLayout more = shared;
    ++more.stages;
    if (more.bytes() > kSharedBudget) return shared.stages;
    shared = more;
  }
}

}  // namespace

ProductPlan PlanProduct(const ProductShape& weights, std::span<const RowGroup> groups,
                        int multiprocessors) {
  int32_t most_rows = 1;
  for (const RowGroup& group : groups) most_rows = std::max(most_rows, group.rows);
  const int width = TokenWidth(std::min(most_rows, kMostTokens));
  // Two warpgroups share the tokens in shared memory, which large products need; one makes twice as
  // many tiles, with which few rows occupy more multiprocessors.
  const bool enough = CountTiles(groups, RowTiles(weights, 2)) >= multiprocessors;
  const int warpgroups = enough ? 2 : 1;
  const int32_t row_tiles = RowTiles(weights, warpgroups);
  const int64_t tiles = CountTiles(groups, row_tiles);
  return {.shared = {.warpgroups = warpgroups, .width = width, .stages = Stages(warpgroups, width)},
          .row_tiles = row_tiles,
          .tiles = tiles,
          .grid = static_cast<int32_t>(std::min<int64_t>(tiles, multiprocessors))};
}

}  // namespace switchyard::kernels::grouped
