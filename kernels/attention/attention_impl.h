// Attention at one CPU level: included by attention_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/attention/attention_kernel.h"
#include "kernels/attention/kv_page.h"
#include "kernels/attention/page_values_impl.h"
#include "kernels/base/simd.h"

namespace switchyard::kernels::SWITCHYARD_SIMD {
namespace {

constexpr int64_t kPage = KvLayout::kPagePositions;
constexpr int64_t kBlock = KvLayout::kBlockPositions;
constexpr int64_t kBlockPages = kBlock / kPage;
constexpr float kMinusInfinity = -__builtin_inff();

// Accumulators that fit the registers beside their operands, and queries that are computed
// together, so that each loaded key and value serves all of them.
#if defined(SWITCHYARD_SIMD_AVX512)
constexpr int kAccumulators = 12;
constexpr int kMaxQueries = 6;
#elif defined(SWITCHYARD_SIMD_AVX2)
constexpr int kAccumulators = 6;
constexpr int kMaxQueries = 6;
#else
constexpr int kAccumulators = 1;
constexpr int kMaxQueries = 1;
#endif

SWITCHYARD_INLINE int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SWITCHYARD_INLINE int64_t Larger(int64_t a, int64_t b) { return a > b ? a : b; }

SWITCHYARD_INLINE void FetchToSecondCache(const void* p) { __builtin_prefetch(p, 0, 2); }

SWITCHYARD_INLINE F32x16 LoadElements(const float* p) { return Load(p); }
SWITCHYARD_INLINE F32x16 LoadElements(const uint16_t* p) { return LoadBf16(p); }
SWITCHYARD_INLINE F32x16 LoadSomeElements(const float* p, int64_t count) {
  return LoadPartial(p, count);
}
SWITCHYARD_INLINE F32x16 LoadSomeElements(const uint16_t* p, int64_t count) {
  return LoadBf16Partial(p, count);
}

// One block of one kv head. Pages outside [first_page, end_page) are not read. While a page is in
// use, the cache lines at `next_keys` and `next_values`, as many as its own, are fetched: pages lie
// apart in memory, where the processor does not foresee them.
template <typename T>
struct BlockPages {
  const T* keys[kBlockPages];
  const T* values[kBlockPages];
  const T* next_keys[kBlockPages];
  const T* next_values[kBlockPages];
  int64_t first_page;
  int64_t end_page;
};

// Queries [0, count) with the positions of the block, [first, last], that each sees. Where there is
// a relative bias: its head's values by offset, and the offset of the block's first position.
struct Queries {
  int64_t count;
  const float* q[kMaxQueries];
  int64_t first[kMaxQueries];
  int64_t last[kMaxQueries];
  const float* bias[kMaxQueries];
  int64_t offset[kMaxQueries];
  float* record[kMaxQueries];
};

// Scores of Q queries with the keys of P pages.
template <typename T, int Q, int P>
SWITCHYARD_INLINE void ScorePages(const Queries& queries, const BlockPages<T>& pages, int64_t page,
                                  int64_t head_dim, float scale, float (*scores)[kBlock]) {
  F32x16 sum[Q][P];
  for (int i = 0; i < Q; ++i) {
    for (int p = 0; p < P; ++p) sum[i][p] = F32x16(0.0f);
  }
  for (int64_t d = 0; d < head_dim; ++d) {
    F32x16 key[P];
    for (int p = 0; p < P; ++p) {
      FetchToSecondCache(pages.next_keys[page + p] + d * kPage);
      key[p] = LoadElements(pages.keys[page + p] + d * kPage);
    }
    for (int i = 0; i < Q; ++i) {
      const F32x16 q(queries.q[i][d]);
      for (int p = 0; p < P; ++p) sum[i][p] = Fma(q, key[p], sum[i][p]);
    }
  }
  for (int i = 0; i < Q; ++i) {
    for (int p = 0; p < P; ++p) {
      Store(sum[i][p] * F32x16(scale), scores[i] + (page + p) * kPage);
    }
  }
}

template <typename T, int Q>
void Score(const Queries& queries, const BlockPages<T>& pages, int64_t head_dim, float scale,
           float (*scores)[kBlock]) {
  constexpr int kTogether = kAccumulators / Q < 4 ? kAccumulators / Q : 4;
  int64_t page = pages.first_page;
  for (; page + kTogether <= pages.end_page; page += kTogether) {
    ScorePages<T, Q, kTogether>(queries, pages, page, head_dim, scale, scores);
  }
  for (; page < pages.end_page; ++page) {
    ScorePages<T, Q, 1>(queries, pages, page, head_dim, scale, scores);
  }
}

// Adds the biases of one query. A page that lies beyond the reach takes the values at the margin,
// which are those of any offset farther out.
template <typename T>
SWITCHYARD_INLINE void AddBias(const BlockPages<T>& pages, const float* bias, int64_t block_offset,
                               int64_t reach, float* scores) {
  static_assert(RelativeBiasTable::kMargin == kPage);
  for (int64_t page = pages.first_page; page < pages.end_page; ++page) {
    const int64_t offset = block_offset + page * kPage;
    const int64_t nearest = Larger(-reach - kPage, Smaller(offset, reach + 1));
    float* const score = scores + page * kPage;
    Store(Load(score) + Load(bias + nearest), score);
  }
}

// Turns the scores of one query into weights; those of positions that it does not see become 0.
template <typename T>
SWITCHYARD_INLINE void Weigh(const BlockPages<T>& pages, int64_t first, int64_t last, float* scores,
                             float* record) {
  for (int64_t j = pages.first_page * kPage; j < first; ++j) scores[j] = kMinusInfinity;
  for (int64_t j = last + 1; j < pages.end_page * kPage; ++j) scores[j] = kMinusInfinity;
  F32x16 largest(kMinusInfinity);
  for (int64_t page = pages.first_page; page < pages.end_page; ++page) {
    largest = Max(Load(scores + page * kPage), largest);
  }
  // A NaN may be lost here; its own weight, and with it the sum, is NaN all the same.
  const float max = ReduceMax(largest);
  F32x16 sum(0.0f);
  for (int64_t page = pages.first_page; page < pages.end_page; ++page) {
    const F32x16 weight = Exp(Load(scores + page * kPage) - F32x16(max));
    Store(weight, scores + page * kPage);
    sum = sum + weight;
  }
  record[kRecordMax] = max;
  record[kRecordSum] = ReduceAdd(sum);
}

// Adds weight * value over positions [first, last] to 16 * N elements of the records of Q queries,
// from `begin`.
template <typename T, int Q, int N>
SWITCHYARD_INLINE void AddColumns(const Queries& queries, int start, const BlockPages<T>& pages,
                                  const float (*weights)[kBlock], int64_t first, int64_t last,
                                  int64_t value_dim, int64_t begin) {
  F32x16 sum[Q][N];
  for (int i = 0; i < Q; ++i) {
    const float* record = queries.record[start + i] + kRecordValue + begin;
    for (int n = 0; n < N; ++n) sum[i][n] = Load(record + 16 * n);
  }
  for (int64_t j = first; j <= last;) {
    const int64_t page = j / kPage;
    const int64_t end = Smaller((page + 1) * kPage, last + 1);
    const int64_t offset = j % kPage * value_dim + begin;
    const T* row = pages.values[page] + offset;
    const T* next_row = pages.next_values[page] + offset;
    for (; j < end; ++j, row += value_dim, next_row += value_dim) {
      FetchToSecondCache(next_row);
      F32x16 value[N];
      for (int n = 0; n < N; ++n) value[n] = LoadElements(row + 16 * n);
      for (int i = 0; i < Q; ++i) {
        const F32x16 weight(weights[start + i][j]);
        for (int n = 0; n < N; ++n) sum[i][n] = Fma(weight, value[n], sum[i][n]);
      }
    }
  }
  for (int i = 0; i < Q; ++i) {
    float* record = queries.record[start + i] + kRecordValue + begin;
    for (int n = 0; n < N; ++n) Store(sum[i][n], record + 16 * n);
  }
}

// The same for one query and the elements that no longer fill a vector.
template <typename T>
void AddTail(float* record, const BlockPages<T>& pages, const float* weights, int64_t first,
             int64_t last, int64_t value_dim, int64_t begin) {
  F32x16 sum = Load(record + kRecordValue + begin);
  for (int64_t j = first; j <= last; ++j) {
    const T* row = pages.values[j / kPage] + j % kPage * value_dim + begin;
    sum = Fma(F32x16(weights[j]), LoadSomeElements(row, value_dim - begin), sum);
  }
  Store(sum, record + kRecordValue + begin);
}

template <typename T, int Q>
void AddValues(const Queries& queries, int start, const BlockPages<T>& pages,
               const float (*weights)[kBlock], int64_t first, int64_t last, int64_t value_dim) {
  if (first > last) return;
  constexpr int kTogether = kAccumulators / Q < 4 ? kAccumulators / Q : 4;
  int64_t d = 0;
  for (; d + 16 * kTogether <= value_dim; d += 16 * kTogether) {
    AddColumns<T, Q, kTogether>(queries, start, pages, weights, first, last, value_dim, d);
  }
  for (; d + 16 <= value_dim; d += 16) {
    AddColumns<T, Q, 1>(queries, start, pages, weights, first, last, value_dim, d);
  }
  if (d < value_dim) {
    for (int i = start; i < start + Q; ++i) {
      AddTail(queries.record[i], pages, weights[i], first, last, value_dim, d);
    }
  }
}

// Values of Q queries whose visible positions overlap: what each alone sees before the common ones,
// the common ones together, what each alone sees after, so that every sum is in ascending order.
template <typename T, int Q>
void AddAllValues(const Queries& queries, const BlockPages<T>& pages,
                  const float (*weights)[kBlock], int64_t value_dim) {
  // Rows ascend, and with them both ends of what they see.
  const int64_t common_first = queries.first[Q - 1], common_last = queries.last[0];
  const bool overlap = common_first <= common_last;
  for (int i = 0; i < Q; ++i) {
    for (int64_t d = 0; d < value_dim; d += 16) {
      Store(F32x16(0.0f), queries.record[i] + kRecordValue + d);
    }
    const int64_t last = overlap ? common_first - 1 : queries.last[i];
    AddValues<T, 1>(queries, i, pages, weights, queries.first[i], last, value_dim);
  }
  if (!overlap) return;
  AddValues<T, Q>(queries, 0, pages, weights, common_first, common_last, value_dim);
  for (int i = 0; i < Q; ++i) {
    AddValues<T, 1>(queries, i, pages, weights, common_last + 1, queries.last[i], value_dim);
  }
}

template <typename T, int Q>
void AttendQueries(const AttentionArgs& args, const Queries& queries, const BlockPages<T>& pages) {
  alignas(64) float weights[Q][kBlock];
  Score<T, Q>(queries, pages, args.layout.head_dim, args.scale, weights);
  for (int i = 0; i < Q; ++i) {
    if (args.relative_bias.values != nullptr) {
      AddBias(pages, queries.bias[i], queries.offset[i], args.relative_bias.reach, weights[i]);
    }
    Weigh(pages, queries.first[i], queries.last[i], weights[i], queries.record[i]);
  }
  AddAllValues<T, Q>(queries, pages, weights, args.layout.value_elements());
}

template <typename T>
void AttendSome(const AttentionArgs& args, const Queries& queries, const BlockPages<T>& pages) {
  if constexpr (kMaxQueries > 1) {
    switch (queries.count) {
      case 6:
        return AttendQueries<T, 6>(args, queries, pages);
      case 4:
        return AttendQueries<T, 4>(args, queries, pages);
      case 3:
        return AttendQueries<T, 3>(args, queries, pages);
      case 2:
        return AttendQueries<T, 2>(args, queries, pages);
    }
  }
  AttendQueries<T, 1>(args, queries, pages);
}

// How many of the `left` queries go together: 6, 4, 3, 2 or 1, and rarely one alone.
SWITCHYARD_INLINE int64_t GroupSize(int64_t left) {
  if (left >= 9) return Smaller(6, kMaxQueries);
  constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 3, 6, 4, 4};
  return Smaller(kSizes[left], kMaxQueries);
}

// `values`: room for the values of a block where the layout has them in the keys.
template <typename T>
BlockPages<T> LocateBlock(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                          int64_t first, int64_t last, T* values) {
  const int64_t key_elements = args.layout.head_dim * kPage;
  const int64_t value_dim = args.layout.value_elements();
  const T* const cache = static_cast<const T*>(args.cache);
  const auto keys_of = [&](int64_t page) {
    return cache + KeyOffset(args.layout, tile.sequence->pages[page], tile.kv_head);
  };
  const int64_t last_page =
      LastVisible(*tile.sequence, tile.first_position + tile.rows - 1) / kPage;
  BlockPages<T> pages;
  pages.first_page = first / kPage;
  pages.end_page = last / kPage + 1;
  for (int64_t p = pages.first_page; p < pages.end_page; ++p) {
    const int64_t page = block * kBlockPages + p;
    pages.keys[p] = keys_of(page);
    pages.next_keys[p] = keys_of(Smaller(page + kBlockPages, last_page));
    if (args.layout.values_in_keys) {
      T* const moved = values + p * kPage * value_dim;
      ValuesOfPage(pages.keys[p], value_dim, moved);
      pages.values[p] = pages.next_values[p] = moved;
    } else {
      pages.values[p] = pages.keys[p] + key_elements;
      pages.next_values[p] = pages.next_keys[p] + key_elements;
    }
  }
  return pages;
}

template <typename T>
void AttendBlock(const AttentionArgs& args, const AttentionTile& tile, int64_t block, T* values,
                 float* records) {
  const int64_t group = args.heads / args.layout.kv_heads;
  const int64_t origin = block * kBlock;
  // Positions of the block that the row sees, counted from its origin.
  const auto first_of = [&](int64_t row) {
    return Larger(0, FirstVisible(*tile.sequence, tile.first_position + row, args.window) - origin);
  };
  const auto last_of = [&](int64_t row) {
    return Smaller(kBlock - 1, LastVisible(*tile.sequence, tile.first_position + row) - origin);
  };
  // Rows that see any of it.
  int64_t begin_row = 0, end_row = tile.rows;
  while (begin_row < end_row && last_of(begin_row) < 0) ++begin_row;
  while (end_row > begin_row && first_of(end_row - 1) >= kBlock) --end_row;
  if (begin_row >= end_row) return;
  const BlockPages<T> pages =
      LocateBlock<T>(args, tile, block, first_of(begin_row), last_of(end_row - 1), values);

  for (int64_t begin = begin_row * group; begin < end_row * group;) {
    Queries queries;
    queries.count = GroupSize(end_row * group - begin);
    for (int64_t i = 0; i < queries.count; ++i) {
      const int64_t row = (begin + i) / group;
      const int64_t head = tile.kv_head * group + (begin + i) % group;
      queries.q[i] = args.q + (tile.batch_row + row) * args.q_stride + head * args.layout.head_dim;
      queries.first[i] = first_of(row);
      queries.last[i] = last_of(row);
      if (args.relative_bias.values != nullptr) {
        queries.bias[i] = args.relative_bias.values + head * args.relative_bias.head_stride;
        queries.offset[i] = origin - (tile.first_position + row);
      }
      queries.record[i] = records + (begin + i) * RecordFloats(args.layout.value_elements());
    }
    AttendSome(args, queries, pages);
    begin += queries.count;
  }
}

void AttendBlockOfType(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                       void* values, float* records) {
  if (args.layout.type == DType::kFloat32) {
    AttendBlock(args, tile, block, static_cast<float*>(values), records);
  } else {
    AttendBlock(args, tile, block, static_cast<uint16_t*>(values), records);
  }
}

void Merge(const float* block, int64_t value_dim, float* state) {
  const float max = state[kRecordMax] < block[kRecordMax] ? block[kRecordMax] : state[kRecordMax];
  const float a = Exp(state[kRecordMax] - max), b = Exp(block[kRecordMax] - max);
  state[kRecordMax] = max;
  state[kRecordSum] = Fma(state[kRecordSum], a, block[kRecordSum] * b);
  for (int64_t d = kRecordValue; d < kRecordValue + value_dim; d += 16) {
    Store(Fma(Load(state + d), F32x16(a), Load(block + d) * F32x16(b)), state + d);
  }
}

void MergeSink(float sink, int64_t value_dim, float* state) {
  const float max = state[kRecordMax] < sink ? sink : state[kRecordMax];
  const float a = Exp(state[kRecordMax] - max), b = Exp(sink - max);
  state[kRecordMax] = max;
  state[kRecordSum] = Fma(state[kRecordSum], a, b);
  for (int64_t d = kRecordValue; d < kRecordValue + value_dim; d += 16) {
    Store(Load(state + d) * F32x16(a), state + d);
  }
}

void Finish(const float* state, int64_t value_dim, DType type, void* output) {
  const F32x16 sum(state[kRecordSum]);
  for (int64_t d = 0; d < value_dim; d += 16) {
    const F32x16 value = Load(state + kRecordValue + d) / sum;
    const int64_t count = Smaller(16, value_dim - d);
    if (type == DType::kFloat32) {
      StorePartial(value, static_cast<float*>(output) + d, count);
    } else {
      StoreBf16Partial(value, static_cast<uint16_t*>(output) + d, count);
    }
  }
}

constexpr AttentionKernel kKernel = {AttendBlockOfType, Merge, MergeSink, Finish};

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
