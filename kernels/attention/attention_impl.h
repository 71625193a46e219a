// Attention at one CPU level: included by attention_{scalar,avx2,avx512}.cc only (simd.h says how).

#include <cstdint>

#include "kernels/attention/attention_kernel.h"
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

// Queries [0, count) with the positions of the block, [first, last], that each sees.
struct Queries {
  int64_t count;
  const float* q[kMaxQueries];
  int64_t first[kMaxQueries];
  int64_t last[kMaxQueries];
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
                                  int64_t head_dim, int64_t begin) {
  F32x16 sum[Q][N];
  for (int i = 0; i < Q; ++i) {
    const float* record = queries.record[start + i] + kRecordValue + begin;
    for (int n = 0; n < N; ++n) sum[i][n] = Load(record + 16 * n);
  }
  for (int64_t j = first; j <= last;) {
    const int64_t page = j / kPage;
    const int64_t end = Smaller((page + 1) * kPage, last + 1);
    const int64_t offset = j % kPage * head_dim + begin;
    const T* row = pages.values[page] + offset;
    const T* next_row = pages.next_values[page] + offset;
    for (; j < end; ++j, row += head_dim, next_row += head_dim) {
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
             int64_t last, int64_t head_dim, int64_t begin) {
  F32x16 sum = Load(record + kRecordValue + begin);
  for (int64_t j = first; j <= last; ++j) {
    const T* row = pages.values[j / kPage] + j % kPage * head_dim + begin;
    sum = Fma(F32x16(weights[j]), LoadSomeElements(row, head_dim - begin), sum);
  }
  Store(sum, record + kRecordValue + begin);
}

template <typename T, int Q>
void AddValues(const Queries& queries, int start, const BlockPages<T>& pages,
               const float (*weights)[kBlock], int64_t first, int64_t last, int64_t head_dim) {
  if (first > last) return;
  constexpr int kTogether = kAccumulators / Q < 4 ? kAccumulators / Q : 4;
  int64_t d = 0;
  for (; d + 16 * kTogether <= head_dim; d += 16 * kTogether) {
    AddColumns<T, Q, kTogether>(queries, start, pages, weights, first, last, head_dim, d);
  }
  for (; d + 16 <= head_dim; d += 16) {
    AddColumns<T, Q, 1>(queries, start, pages, weights, first, last, head_dim, d);
  }
  if (d < head_dim) {
    for (int i = start; i < start + Q; ++i) {
      AddTail(queries.record[i], pages, weights[i], first, last, head_dim, d);
    }
  }
}

// Values of Q queries whose visible positions overlap: what each alone sees before the common ones,
// the common ones together, what each alone sees after, so that every sum is in ascending order.
template <typename T, int Q>
void AddAllValues(const Queries& queries, const BlockPages<T>& pages,
                  const float (*weights)[kBlock], int64_t head_dim) {
  // Rows ascend, and with them both ends of what they see.
  const int64_t common_first = queries.first[Q - 1], common_last = queries.last[0];
  const bool overlap = common_first <= common_last;
  for (int i = 0; i < Q; ++i) {
    for (int64_t d = 0; d < head_dim; d += 16) {
      Store(F32x16(0.0f), queries.record[i] + kRecordValue + d);
    }
    const int64_t last = overlap ? common_first - 1 : queries.last[i];
    AddValues<T, 1>(queries, i, pages, weights, queries.first[i], last, head_dim);
  }
  if (!overlap) return;
  AddValues<T, Q>(queries, 0, pages, weights, common_first, common_last, head_dim);
  for (int i = 0; i < Q; ++i) {
    AddValues<T, 1>(queries, i, pages, weights, common_last + 1, queries.last[i], head_dim);
  }
}

template <typename T, int Q>
void AttendQueries(const Queries& queries, const BlockPages<T>& pages, int64_t head_dim,
                   float scale) {
  alignas(64) float weights[Q][kBlock];
  Score<T, Q>(queries, pages, head_dim, scale, weights);
  for (int i = 0; i < Q; ++i) {
    Weigh(pages, queries.first[i], queries.last[i], weights[i], queries.record[i]);
  }
  AddAllValues<T, Q>(queries, pages, weights, head_dim);
}

template <typename T>
void AttendSome(const Queries& queries, const BlockPages<T>& pages, int64_t head_dim, float scale) {
  if constexpr (kMaxQueries > 1) {
    switch (queries.count) {
      case 6:
        return AttendQueries<T, 6>(queries, pages, head_dim, scale);
      case 4:
        return AttendQueries<T, 4>(queries, pages, head_dim, scale);
      case 3:
        return AttendQueries<T, 3>(queries, pages, head_dim, scale);
      case 2:
        return AttendQueries<T, 2>(queries, pages, head_dim, scale);
    }
  }
  AttendQueries<T, 1>(queries, pages, head_dim, scale);
}

// How many of the `left` queries go together: 6, 4, 3, 2 or 1, and rarely one alone.
SWITCHYARD_INLINE int64_t GroupSize(int64_t left) {
  if (left >= 9) return Smaller(6, kMaxQueries);
  constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 3, 6, 4, 4};
  return Smaller(kSizes[left], kMaxQueries);
}

template <typename T>
BlockPages<T> LocateBlock(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                          int64_t first, int64_t last) {
  const int64_t page_elements = args.layout.head_dim * kPage;
  const T* const cache = static_cast<const T*>(args.cache);
  const auto keys_of = [&](int64_t page) {
    return cache +
           (tile.sequence->pages[page] * args.layout.kv_heads + tile.kv_head) * (2 * page_elements);
  };
  const int64_t last_position = tile.first_position + tile.rows - 1;
  BlockPages<T> pages;
  pages.first_page = first / kPage;
  pages.end_page = last / kPage + 1;
  for (int64_t p = pages.first_page; p < pages.end_page; ++p) {
    const int64_t page = block * kBlockPages + p;
    const int64_t next = Smaller(page + kBlockPages, last_position / kPage);
    pages.keys[p] = keys_of(page);
    pages.values[p] = pages.keys[p] + page_elements;
    pages.next_keys[p] = keys_of(next);
    pages.next_values[p] = pages.next_keys[p] + page_elements;
  }
  return pages;
}

template <typename T>
void AttendBlock(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                 float* records) {
  const int64_t head_dim = args.layout.head_dim;
  const int64_t group = args.heads / args.layout.kv_heads;
  const int64_t origin = block * kBlock;
  // Positions of the block that the row sees, counted from its origin.
  const auto first_of = [&](int64_t row) {
    const int64_t begin = tile.first_position + row - origin + 1 - args.window;
    return args.window > 0 ? Larger(0, begin) : 0;
  };
  const auto last_of = [&](int64_t row) {
    return Smaller(kBlock - 1, tile.first_position + row - origin);
  };
  // Rows that see any of it: they stand in or after the block, and not a window or more behind it.
  const int64_t begin_row = Larger(0, origin - tile.first_position);
  int64_t end_row = tile.rows;
  while (end_row > begin_row && first_of(end_row - 1) >= kBlock) --end_row;
  if (begin_row >= end_row) return;
  const BlockPages<T> pages =
      LocateBlock<T>(args, tile, block, first_of(begin_row), last_of(end_row - 1));

  for (int64_t begin = begin_row * group; begin < end_row * group;) {
    Queries queries;
    queries.count = GroupSize(end_row * group - begin);
    for (int64_t i = 0; i < queries.count; ++i) {
      const int64_t row = (begin + i) / group;
      const int64_t head = tile.kv_head * group + (begin + i) % group;
      queries.q[i] = args.q + (tile.batch_row + row) * args.q_stride + head * head_dim;
      queries.first[i] = first_of(row);
      queries.last[i] = last_of(row);
      queries.record[i] = records + (begin + i) * RecordFloats(head_dim);
    }
    AttendSome(queries, pages, head_dim, args.scale);
    begin += queries.count;
  }
}

void AttendBlockOfType(const AttentionArgs& args, const AttentionTile& tile, int64_t block,
                       float* records) {
  if (args.layout.type == DType::kFloat32) {
    AttendBlock<float>(args, tile, block, records);
  } else {
    AttendBlock<uint16_t>(args, tile, block, records);
  }
}

void Merge(const float* block, int64_t head_dim, float* state) {
  const float max = state[kRecordMax] < block[kRecordMax] ? block[kRecordMax] : state[kRecordMax];
  const float a = Exp(state[kRecordMax] - max), b = Exp(block[kRecordMax] - max);
  state[kRecordMax] = max;
  state[kRecordSum] = Fma(state[kRecordSum], a, block[kRecordSum] * b);
  for (int64_t d = kRecordValue; d < kRecordValue + head_dim; d += 16) {
    Store(Fma(Load(state + d), F32x16(a), Load(block + d) * F32x16(b)), state + d);
  }
}

void Finish(const float* state, int64_t head_dim, DType type, void* output) {
  const F32x16 sum(state[kRecordSum]);
  for (int64_t d = 0; d < head_dim; d += 16) {
    const F32x16 value = Load(state + kRecordValue + d) / sum;
    const int64_t count = Smaller(16, head_dim - d);
    if (type == DType::kFloat32) {
      StorePartial(value, static_cast<float*>(output) + d, count);
    } else {
      StoreBf16Partial(value, static_cast<uint16_t*>(output) + d, count);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::SWITCHYARD_SIMD
