#pragma once

// What a micro-batch computes and the memory it computes in. Two of them take turns: while the
// experts of one are away, the other computes attention.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/rope/rope.h"
#include "kernels/router/router.h"
#include "services/base/clock.h"
#include "services/model/model_spec.h"
#include "services/transport/frame.h"

namespace switchyard::router {

// Floats of a row of MicroBatch::qkv(), and elements of one of attended().
int64_t QkvWidth(const model::AttentionSpec& spec);
int64_t AttendedWidth(const model::AttentionSpec& spec);

// Consecutive positions of one sequence, or with `encoder` all of its source.
struct SequenceChunk {
  const int32_t* tokens = nullptr;  // ids of the rows, each in the vocabulary
  int64_t first_position = 0;
  int64_t rows = 0;
  const int32_t* pages = nullptr;  // the sequence's page table, up to first_position + rows
  std::span<const int32_t> ahead;  // ids of the last of the rows; those before are at `tokens`
  const kernels::RopeTable* rope = nullptr;  // null: the model's only one
  // How experts with a capacity count: as in a full pass or as in generation, and how many leading
  // rows together. Every other row counts alone.
  bool full_pass = false;
  int64_t counted_together = 0;
  bool encoder = false;  // every row sees all rows; the pages are the source's
  // What cross attention sees, in a decoder after an encoder.
  const int32_t* source_pages = nullptr;
  int64_t source_rows = 0;
};

// Consecutive rows that rotate with one table.
struct RopeRun {
  const kernels::RopeTable* table = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
};

// Consecutive rows that one convention of a router decides. The ranges share a capacity each, count
// from first_row and cover all rows.
struct RoutingRun {
  bool full_pass = false;
  int64_t first_row = 0;
  int64_t rows = 0;
  std::span<const kernels::RowRange> ranges;
};

// Rows stand in the order of the chunks. Sized once for `max_rows`; nothing is allocated later.
// Used by one thread; the stages of a pipeline fill it in turn.
class MicroBatch {
 public:
  MicroBatch(const model::ModelSpec& spec, kernels::NumericsClass numerics, uint32_t index,
             int64_t max_rows);

  // Takes up new work, at most max_rows rows; chunks are all of the encoder or none is. The chunks'
  // pointers must stay valid until it is done. `expert_timeout`: how long the experts of each layer
  // may stay away.
  void Assign(std::span<const SequenceChunk> chunks, transport::Phase phase,
              Duration expert_timeout);

  // Goes on with other rows of the same sequences: row i takes up the residual stream of row
  // rows[i], ascending. The routing of layers that they do not pass is kept.
  void Continue(std::span<const SequenceChunk> chunks, std::span<const int32_t> rows);

  uint32_t index() const { return index_; }
  int64_t rows() const { return rows_; }
  int64_t max_rows() const { return max_rows_; }
  transport::Phase phase() const { return phase_; }
  Duration expert_timeout() const { return expert_timeout_; }
  void set_expert_timeout(Duration timeout) { expert_timeout_ = timeout; }  // until Assign
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const int64_t> positions() const { return positions_; }
  std::span<const kernels::AttentionSequence> sequences() const { return sequences_; }
  std::span<const RopeRun> rope_runs() const { return rope_runs_; }           // cover all rows
  std::span<const RoutingRun> routing_runs() const { return routing_runs_; }  // likewise
  bool encoder() const { return encoder_; }
  // Of cross attention, with the rows of sequences().
  std::span<const kernels::AttentionSequence> source_sequences() const { return sources_; }

  // A row fails when a layer's router has no answer for it (its logits are not numbers) or one of
  // its experts none (its output is not finite). What it computes from there on is meaningless;
  // other rows are untouched.
  bool RowFailed(int64_t row) const { return failed_[row] != 0; }
  void MarkFailed(int64_t row) { failed_[row] = 1; }

  // Experts chosen in a MoE layer and their weights, [rows][top_k], best first. Kept for all layers
  // until the next Assign. `layer`: an index of ModelSpec::Block.
  int32_t* expert_ids(int64_t layer) { return expert_ids_.data() + routing_offset_[layer]; }
  // Before a capacity dropped some (whose id and weight above are -1 and 0).
  int32_t* chosen_ids(int64_t layer) { return chosen_ids_.data() + routing_offset_[layer]; }
  float* expert_weights(int64_t layer) { return expert_weights_.data() + routing_offset_[layer]; }

  // Workspaces, [rows][...] dense; "wire" means the class's wire type.
  float* hidden() { return hidden_.As<float>(); }        // the residual stream
  float* normed() { return normed_.As<float>(); }        // the router's input, class bf16
  void* wire_normed() { return wire_normed_.data(); }    // what projections and experts read
  float* qkv() { return qkv_.As<float>(); }              // heads of q, then what is cached
  void* attended() { return attended_.data(); }          // wire; attention's output
  float* projected() { return projected_.As<float>(); }  // fp32 output before the residual sum
  float* router_logits() { return router_logits_.As<float>(); }
  uint8_t* router_failed() { return router_failed_.data(); }

  // Layer whose experts are away; set by the stage that sent them.
  int64_t layer = 0;

 private:
  void AddRopeRun(const SequenceChunk& chunk, int64_t first_row);
  void AddRoutingRun(const SequenceChunk& chunk, int64_t first_row);

  uint32_t index_;
  int64_t hidden_width_;
  int64_t max_rows_;
  int64_t rows_ = 0;
  transport::Phase phase_ = transport::Phase::kDecode;
  Duration expert_timeout_{};
  std::vector<int32_t> tokens_;
  std::vector<int64_t> positions_;
  std::vector<kernels::AttentionSequence> sequences_;
  std::vector<RopeRun> rope_runs_;
  std::vector<RoutingRun> routing_runs_;
  std::vector<kernels::RowRange> capacity_ranges_;
  std::vector<kernels::AttentionSequence> sources_;
  bool encoder_ = false;
  std::vector<uint8_t> failed_;
  std::vector<uint8_t> router_failed_;
  std::vector<int64_t> routing_offset_;  // per layer
  std::vector<int32_t> expert_ids_;
  std::vector<int32_t> chosen_ids_;
  std::vector<float> expert_weights_;
  kernels::Buffer hidden_, normed_, wire_normed_, qkv_, attended_, projected_, router_logits_;
};

}  // namespace switchyard::router
