#include "kernels/attention/attention_plan.h"

#include <algorithm>

#include "kernels/attention/kv_page.h"

namespace switchyard::kernels {
namespace {

// Enough queries to reuse what was loaded, few enough that their state stays in the first cache.
constexpr int64_t kTileQueries = 24;
// Tasks a thread should find, so that a thread that is held up delays little.
constexpr int64_t kTasksPerThread = 4;
// A shorter piece does not pay for the detour of its results through memory.
constexpr int64_t kMinPieceBlocks = 4;
constexpr int64_t kMaxPartialRecords = 1 << 17;

}  // namespace

void AttentionPlan::Build(const AttentionArgs& args, int threads) {
  tiles.clear();
  tasks.clear();
  merges.clear();
  partial_records = 0;
  max_queries = 0;
  AddTiles(args);
  AddTasks(args.heads / args.layout.kv_heads, threads);
}

void AttentionPlan::AddTiles(const AttentionArgs& args) {
  const int64_t group = args.heads / args.layout.kv_heads;
  const int64_t tile_rows = std::max<int64_t>(1, kTileQueries / group);
  int64_t batch_row = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    // From the end: late rows see most keys, and long tasks should start first.
    for (int64_t end = sequence.rows; end > 0; end -= std::min(end, tile_rows)) {
      const int64_t begin = std::max<int64_t>(0, end - tile_rows);
      const int64_t first_position = sequence.first_position + begin;
      const int64_t last_position = sequence.first_position + end - 1;
      for (int64_t kv_head = 0; kv_head < args.layout.kv_heads; ++kv_head) {
        tiles.push_back({
            .sequence = &sequence,
            .kv_head = kv_head,
            .first_position = first_position,
            .rows = end - begin,
            .batch_row = batch_row + begin,
            .first_block =
                FirstVisible(sequence, first_position, args.window) / KvLayout::kBlockPositions,
            .end_block = LastVisible(sequence, last_position) / KvLayout::kBlockPositions + 1,
        });
      }
      max_queries = std::max(max_queries, (end - begin) * group);
    }
    batch_row += sequence.rows;
  }
}

void AttentionPlan::AddTasks(int64_t group, int threads) {
  const int64_t wanted = threads * kTasksPerThread;
  const bool cut = threads > 1 && static_cast<int64_t>(tiles.size()) < wanted;
  int64_t blocks = 0;
  for (const AttentionTile& tile : tiles) blocks += tile.blocks();
  const int64_t piece = std::max(kMinPieceBlocks, (blocks + wanted - 1) / wanted);

  for (size_t t = 0; t < tiles.size(); ++t) {
    AttentionTile& tile = tiles[t];
    const int64_t queries = tile.rows * group;
    const int64_t records = tile.blocks() * queries;
    if (!cut || tile.blocks() <= piece || partial_records + records > kMaxPartialRecords) {
      tasks.push_back({static_cast<int32_t>(t), tile.first_block, tile.end_block});
      continue;
    }
    tile.partials = partial_records;
    partial_records += records;
    for (int64_t begin = tile.first_block; begin < tile.end_block; begin += piece) {
      tasks.push_back({static_cast<int32_t>(t), begin, std::min(begin + piece, tile.end_block)});
    }
    for (int64_t query = 0; query < queries; ++query) {
      merges.push_back({static_cast<int32_t>(t), static_cast<int32_t>(query)});
    }
  }
}

}  // namespace switchyard::kernels
