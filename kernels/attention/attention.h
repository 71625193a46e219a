#pragma once

// Causal attention over a paged KV cache: prefill and decode are the same operation (a sequence
// brings any number of query rows), GQA and MQA, optional sliding window.
//
// Definition, for one row and query head. Visible positions fall into blocks of kBlockPositions
// absolute positions; a block without a visible position is skipped. In a block, over its visible
// positions j:
//   score[j]  = (acc = fma(q[d], k[j][d], acc) for d ascending, from 0) * scale
//   max       = max of score[j]
//   weight[j] = Exp(score[j] - max)
//   sum       = 16-lane sum of weight[j], lane j mod 16 (docs/arithmetic.md, "Other reductions")
//   value[d]  = acc = fma(weight[j], v[j][d], acc) for j ascending, from 0
// The first block is the state; each further block, ascending, is merged into it: with
// m = max(state.max, max), a = Exp(state.max - m), b = Exp(max - m):
//   state.sum = fma(state.sum, a, sum * b)    state.value[d] = fma(state.value[d], a, value[d] * b)
// and the output is state.value[d] / state.sum, rounded to bf16 where that is the output type.
// So a row's result does not depend on the chunk it came in, the batch, the page order or the
// thread count. All in fp32; only stored keys and values are rounded in class bf16. A score of NaN
// or +inf makes that row's head NaN and no other.

#include <cstdint>
#include <span>

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Layout of the cache of one layer. A page holds kPagePositions consecutive positions of one
// sequence: for each kv head, first all keys as [head_dim][kPagePositions] (so that a vector runs
// over keys), then all values as [kPagePositions][head_dim]. Elements are fp32 in class fp32, bf16
// (rounded when stored) in class bf16.
struct KvLayout {
  static constexpr int64_t kPagePositions = 16;
  static constexpr int64_t kBlockPositions = 64;
  DType type = DType::kFloat32;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;

  int64_t head_elements() const { return 2 * head_dim * kPagePositions; }
  int64_t page_bytes() const {
    return kv_heads * head_elements() * static_cast<int64_t>(SizeOf(type));
  }
};

// One sequence's part of a batch. Query row r stands at absolute position first_position + r and
// sees keys max(0, position - window + 1) .. position (window 0: all from 0).
struct AttentionSequence {
  const int32_t* pages = nullptr;  // page ids; entry p holds positions 16 p .. 16 p + 15. Pages
                                   // wholly before a sliding window are never read.
  int64_t first_position = 0;
  int64_t rows = 0;
};

struct StoreKvArgs {
  KvLayout layout;
  void* cache = nullptr;  // of this layer; page i begins at cache + i * page_bytes()
  std::span<const AttentionSequence> sequences;
  const float* k = nullptr;  // rows of all sequences in order, [rows][kv_heads * head_dim], after
  const float* v = nullptr;  // rope; `row_stride` floats apart
  int64_t row_stride = 0;
};

// Writes the rows' keys and values into the pages. Must come before Attention of the same rows. No
// two sequences of a call may share a page that is written.
void StoreKv(const StoreKvArgs& args, ThreadPool& pool);

struct AttentionArgs {
  KvLayout layout;
  const void* cache = nullptr;
  std::span<const AttentionSequence> sequences;
  const float* q = nullptr;  // [rows][heads * head_dim] after rope, `q_stride` floats apart
  int64_t q_stride = 0;
  int64_t heads = 0;  // a multiple of layout.kv_heads; head h reads kv head h / (heads / kv_heads)
  float scale = 0;    // multiplies q.k, usually head_dim^-1/2
  int64_t window = 0;
  void* output = nullptr;  // [rows][heads * head_dim] dense, of `output_type`
  DType output_type = DType::kFloat32;
};

// Scratch belongs to the calling thread and grows to the largest call seen, then stays: no
// allocation in the steady state. A few sequences with long contexts are also cut over their
// blocks, so that one sequence keeps all threads busy.
void Attention(const AttentionArgs& args, ThreadPool& pool);

// The scalar truth, single-threaded, straight from the definition.
void AttentionReference(const AttentionArgs& args);

}  // namespace switchyard::kernels
