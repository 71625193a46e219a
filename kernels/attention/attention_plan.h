#pragma once

// How a call of Attention is cut into tasks for the thread pool. Cuts change who computes a block,
// never what is computed.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/attention.h"

namespace switchyard::kernels {

// Some rows of one sequence with all query heads of one kv head, so that loaded keys and values
// serve all of them. Query q of a tile is row q / group, head kv_head * group + q % group.
struct AttentionTile {
  const AttentionSequence* sequence = nullptr;
  int64_t kv_head = 0;
  int64_t first_position = 0;  // of the first row
  int64_t rows = 0;
  int64_t batch_row = 0;  // index of the first row in q and output
  int64_t first_block = 0;
  int64_t end_block = 0;
  int64_t partials =
      -1;  // where the records of a tile that is cut over its blocks begin, in records:
           // [end_block - first_block][queries]; -1 when one task does it all

  int64_t blocks() const { return end_block - first_block; }
};

struct AttentionTask {
  int32_t tile = 0;
  int64_t first_block = 0;
  int64_t end_block = 0;
};

// One query of a tile that was cut, to be merged once all tasks are done.
struct AttentionMerge {
  int32_t tile = 0;
  int32_t query = 0;
};

struct AttentionPlan {
  std::vector<AttentionTile> tiles;
  std::vector<AttentionTask> tasks;
  std::vector<AttentionMerge> merges;
  int64_t partial_records = 0;
  int64_t max_queries = 0;  // of a tile

  // Replaces the plan; keeps the vectors' memory. `args.sequences` must outlive its use.
  void Build(const AttentionArgs& args, int threads);

 private:
  void AddTiles(const AttentionArgs& args);
  void AddTasks(int64_t group, int threads);
};

}  // namespace switchyard::kernels
