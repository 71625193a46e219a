#include "kernels/attention/attention.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/attention/attention_kernel.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/attention/kv_page.h"
#include "kernels/base/buffer.h"
#include "kernels/base/for_level.h"

namespace switchyard::kernels {
namespace {

// One call, with scratch that the calling thread keeps.
class Call {
 public:
  struct Scratch {
    AttentionPlan plan;
    Buffer memory;
  };

  Call(const AttentionArgs& args, int threads, Scratch& scratch)
      : args_(args),
        kernel_(*ForActiveLevel(&kAttentionScalar, &kAttentionAvx2, &kAttentionAvx512)),
        plan_(scratch.plan),
        group_(args.heads / args.layout.kv_heads),
        value_dim_(args.layout.value_elements()),
        record_(RecordFloats(value_dim_)) {
    plan_.Build(args, threads);
    block_values_ = args.layout.values_in_keys ? KvLayout::kBlockPositions * value_dim_ : 0;
    worker_floats_ = block_values_ + 2 * plan_.max_queries * record_;
    const int64_t partial_floats = plan_.partial_records * record_;
    scratch.memory.Reserve((threads * worker_floats_ + partial_floats) * sizeof(float));
    workers_ = scratch.memory.As<float>();
    partials_ = workers_ + threads * worker_floats_;
  }

  void Run(ThreadPool& pool) {
    pool.ParallelFor(static_cast<int64_t>(plan_.tasks.size()), [this](int64_t task, int worker) {
      const AttentionTask& t = plan_.tasks[task];
      float* const memory = workers_ + worker * worker_floats_;
      if (plan_.tiles[t.tile].partials < 0) {
        AttendTile(plan_.tiles[t.tile], memory);
      } else {
        AttendPiece(plan_.tiles[t.tile], t, memory);
      }
    });
    if (plan_.merges.empty()) return;
    pool.ParallelFor(static_cast<int64_t>(plan_.merges.size()), [this](int64_t merge, int) {
      MergePieces(plan_.tiles[plan_.merges[merge].tile], plan_.merges[merge].query);
    });
  }

 private:
  // Blocks that a query of the tile sees: [first, second).
  std::pair<int64_t, int64_t> VisibleBlocks(const AttentionTile& tile, int64_t query) const {
    const int64_t position = tile.first_position + query / group_;
    return {FirstVisible(*tile.sequence, position, args_.window) / KvLayout::kBlockPositions,
            LastVisible(*tile.sequence, position) / KvLayout::kBlockPositions + 1};
  }

  // All blocks of a tile in ascending order. A worker's memory: one block's values where they are
  // in the keys, the tile's states, one block's records.
  void AttendTile(const AttentionTile& tile, float* memory) {
    const int64_t queries = tile.rows * group_;
    float* const states = memory + block_values_;
    float* const blocks = states + plan_.max_queries * record_;
    for (int64_t block = tile.first_block; block < tile.end_block; ++block) {
      kernel_.attend_block(args_, tile, block, memory, blocks);
      for (int64_t query = 0; query < queries; ++query) {
        const auto [first, end] = VisibleBlocks(tile, query);
        if (block < first || block >= end) continue;
        Join(blocks + query * record_, block == first, states + query * record_);
      }
    }
    for (int64_t query = 0; query < queries; ++query) {
      Finish(tile, query, states + query * record_);
    }
  }

  // Some blocks of a tile: their records are kept apart.
  void AttendPiece(const AttentionTile& tile, const AttentionTask& task, float* memory) {
    for (int64_t block = task.first_block; block < task.end_block; ++block) {
      kernel_.attend_block(args_, tile, block, memory, Partials(tile, block));
    }
  }

  // The records of a query in ascending order; the first serves as the state.
  void MergePieces(const AttentionTile& tile, int64_t query) {
    const auto [first, end] = VisibleBlocks(tile, query);
    float* const state = Partials(tile, first) + query * record_;
    for (int64_t block = first + 1; block < end; ++block) {
      kernel_.merge(Partials(tile, block) + query * record_, value_dim_, state);
    }
    Finish(tile, query, state);
  }

  float* Partials(const AttentionTile& tile, int64_t block) {
    const int64_t queries = tile.rows * group_;
    return partials_ + (tile.partials + (block - tile.first_block) * queries) * record_;
  }

  void Join(const float* block, bool first, float* state) {
    if (first) {
      std::memcpy(state, block, record_ * sizeof(float));
    } else {
      kernel_.merge(block, value_dim_, state);
    }
  }

  void Finish(const AttentionTile& tile, int64_t query, float* state) {
    const int64_t row = tile.batch_row + query / group_;
    const int64_t head = tile.kv_head * group_ + query % group_;
    if (args_.sinks != nullptr) kernel_.merge_sink(args_.sinks[head], value_dim_, state);
    const int64_t offset = (row * args_.heads + head) * value_dim_;
    char* const output =
        static_cast<char*>(args_.output) + offset * static_cast<int64_t>(SizeOf(args_.output_type));
    kernel_.finish(state, value_dim_, args_.output_type, output);
  }

  const AttentionArgs& args_;
  const AttentionKernel& kernel_;
  AttentionPlan& plan_;
  const int64_t group_;
  const int64_t value_dim_;
  const int64_t record_;  // floats
  int64_t block_values_ = 0;
  int64_t worker_floats_ = 0;
  float* workers_ = nullptr;
  float* partials_ = nullptr;
};

}  // namespace

void Attention(const AttentionArgs& args, ThreadPool& pool) {
  static thread_local Call::Scratch scratch;
  Call(args, pool.threads(), scratch).Run(pool);
}

}  // namespace switchyard::kernels
