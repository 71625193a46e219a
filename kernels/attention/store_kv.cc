#include <algorithm>

#include "kernels/attention/attention.h"
#include "kernels/attention/kv_page.h"
#include "kernels/base/bf16.h"

namespace switchyard::kernels {
namespace {

void StoreElement(float value, float* element) { *element = value; }
void StoreElement(float value, uint16_t* element) { *element = FloatToBf16(value); }

template <typename T>
void StoreRow(const StoreKvArgs& args, int32_t page, int64_t slot, const float* k, const float* v) {
  const int64_t head_dim = args.layout.head_dim, value_dim = args.layout.value_elements();
  T* const cache = static_cast<T*>(args.cache);
  for (int64_t head = 0; head < args.layout.kv_heads; ++head) {
    T* keys = cache + KeyOffset(args.layout, page, head) + slot;
    for (int64_t d = 0; d < head_dim; ++d) {
      StoreElement(k[head * head_dim + d], keys + d * KvLayout::kPagePositions);
    }
    if (args.layout.values_in_keys) continue;
    T* values = cache + ValueOffset(args.layout, page, head) + slot * value_dim;
    for (int64_t d = 0; d < value_dim; ++d) StoreElement(v[head * value_dim + d], values + d);
  }
}

// `batch_row`: index in k and v of the sequence's first row.
void StoreSequence(const StoreKvArgs& args, const AttentionSequence& sequence, int64_t batch_row,
                   int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const int64_t position = sequence.first_position + r;
    const int32_t page = sequence.pages[position / KvLayout::kPagePositions];
    const int64_t slot = position % KvLayout::kPagePositions;
    const float* k = args.k + (batch_row + r) * args.row_stride;
    const float* v =
        args.layout.values_in_keys ? nullptr : args.v + (batch_row + r) * args.row_stride;
    if (args.layout.type == DType::kFloat32) {
      StoreRow<float>(args, page, slot, k, v);
    } else {
      StoreRow<uint16_t>(args, page, slot, k, v);
    }
  }
}

}  // namespace

void StoreKv(const StoreKvArgs& args, ThreadPool& pool) {
  constexpr int64_t kRowsPerTile = 32;
  int64_t rows = 0;
  for (const AttentionSequence& sequence : args.sequences) rows += sequence.rows;
  pool.ParallelFor((rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile, int) {
    const int64_t tile_begin = tile * kRowsPerTile, tile_end = tile_begin + kRowsPerTile;
    int64_t batch_row = 0;
    for (const AttentionSequence& sequence : args.sequences) {
      const int64_t begin = std::max(tile_begin - batch_row, int64_t{0});
      const int64_t end = std::min(tile_end - batch_row, sequence.rows);
      StoreSequence(args, sequence, batch_row, begin, end);
      batch_row += sequence.rows;
    }
  });
}

}  // namespace switchyard::kernels
