#pragma once

// Attention over a paged KV cache: prefill and decode are the same operation (a sequence brings any
// number of query rows), GQA, MQA and MLA, optional sliding window, relative position bias and
// sinks; over all keys of a sequence for encoders and for attention to another sequence.
//
// Definition, for one row and query head. Visible positions fall into blocks of kBlockPositions
// absolute positions; a block without a visible position is skipped. In a block, over its visible
// positions j:
//   score[j]  = (acc = fma(q[d], k[j][d], acc) for d ascending, from 0) * scale
//               and where there is a relative bias, score[j] + bias[head][j - position], rounded
//   max       = max of score[j]
//   weight[j] = Exp(score[j] - max)
//   sum       = 16-lane sum of weight[j], lane j mod 16 (docs/arithmetic-attention.md)
//   value[d]  = acc = fma(weight[j], v[j][d], acc) for j ascending, from 0
// The first block is the state; each further block, ascending, is merged into it: with
// m = max(state.max, max), a = Exp(state.max - m), b = Exp(max - m):
//   state.sum = fma(state.sum, a, sum * b)    state.value[d] = fma(state.value[d], a, value[d] * b)
// A sink then joins the sum alone: with m = max(state.max, sink) and a, b as above (b from sink):
//   state.sum = fma(state.sum, a, b)          state.value[d] = state.value[d] * a
// and the output is state.value[d] / state.sum, rounded to bf16 where that is the output type.
// So a row's result does not depend on the chunk it came in, the batch, the page order or the
// thread count. All in fp32; only stored keys and values are rounded in class bf16. A score of NaN
// or +inf makes that row's head NaN and no other.

#include <cstdint>
#include <span>

#include "kernels/attention/relative_bias.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Layout of the cache of one layer. A page holds kPagePositions consecutive positions of one
// sequence: for each kv head, first all keys as [head_dim][kPagePositions] (so that a vector runs
// over keys), then all values as [kPagePositions][value_dim]. Elements are fp32 in class fp32, bf16
// (rounded when stored) in class bf16.
//
// MLA in absorbed form is one kv head with `values_in_keys`: a key is the latent followed by the
// rotated part, a value is the latent, the first value_dim elements of the key, and the page holds
// the keys and nothing else.
struct KvLayout {
  static constexpr int64_t kPagePositions = 16;
  static constexpr int64_t kBlockPositions = 64;
  DType type = DType::kFloat32;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;   // of keys and queries
  int64_t value_dim = 0;  // of values and outputs; 0: head_dim
  bool values_in_keys = false;

  [[gnu::always_inline]] constexpr int64_t value_elements() const {
    return value_dim > 0 ? value_dim : head_dim;
  }
  // Of one kv head in one page.
  [[gnu::always_inline]] constexpr int64_t head_elements() const {
    return (head_dim + (values_in_keys ? 0 : value_elements())) * kPagePositions;
  }
  int64_t page_bytes() const {
    return kv_heads * head_elements() * static_cast<int64_t>(SizeOf(type));
  }
};

// One sequence's part of a batch. Query row r stands at absolute position first_position + r. With
// `keys` = 0 it sees the keys max(0, position - window + 1) .. position of its own sequence (window
// 0: all from 0). Otherwise every row sees exactly the keys 0 .. keys - 1, wherever it stands: an
// encoder's own, all stored before, or those of another sequence.
struct AttentionSequence {
  const int32_t* pages = nullptr;  // page ids; entry p holds positions 16 p .. 16 p + 15. Pages
                                   // wholly before a sliding window are never read.
  int64_t first_position = 0;
  int64_t rows = 0;
  int64_t keys = 0;
};

struct StoreKvArgs {
  KvLayout layout;
  void* cache = nullptr;  // of this layer; page i begins at cache + i * page_bytes()
  std::span<const AttentionSequence> sequences;
  const float* k = nullptr;  // rows of all sequences in order, [rows][kv_heads * head_dim], after
                             // rope; `row_stride` floats apart
  const float* v = nullptr;  // likewise, of value_elements(); not read where values are in keys
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
  RelativeBiasTable relative_bias;  // of `heads` heads; none by default
  const float* sinks = nullptr;     // one a head, or null
  void* output = nullptr;           // [rows][heads * value_elements()] dense, of `output_type`
  DType output_type = DType::kFloat32;
};

// Scratch belongs to the calling thread and grows to the largest call seen, then stays: no
// allocation in the steady state. A few sequences with long contexts are also cut over their
// blocks, so that one sequence keeps all threads busy.
void Attention(const AttentionArgs& args, ThreadPool& pool);

// The scalar truth, single-threaded, straight from the definition.
void AttentionReference(const AttentionArgs& args);

}  // namespace switchyard::kernels
