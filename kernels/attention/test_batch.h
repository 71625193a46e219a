#pragma once

// Sequences with random queries, keys and values for the tests of attention.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/memory.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels::testing {

struct Shape {
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 32;
  int64_t value_dim = 0;
  bool values_in_keys = false;
  int64_t window = 0;
  bool all_keys = false;  // rows see every key of their sequence
  bool sinks = false;
  RelativeBuckets buckets = {.buckets = 0};  // 0: no relative bias
  DType type = DType::kFloat32;

  KvLayout Layout() const {
    return {.type = type,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .value_dim = value_dim,
            .values_in_keys = values_in_keys};
  }
};

inline std::string Describe(const Shape& s) {
  return std::to_string(s.heads) + " heads, " + std::to_string(s.kv_heads) + " kv heads of " +
         std::to_string(s.head_dim) + (s.values_in_keys ? ", values in keys" : "") + ", window " +
         std::to_string(s.window) + (s.all_keys ? ", all keys" : "") + (s.sinks ? ", sinks" : "") +
         ", " + std::to_string(s.buckets.buckets) + " buckets" +
         (s.type == DType::kFloat32 ? ", fp32" : ", bf16");
}

// Sequences with all their queries, keys and values, whose rows can be computed in any pieces.
class Batch {
 public:
  Batch(const Shape& shape, std::vector<int64_t> lengths, uint32_t seed = 1)
      : shape_(shape), lengths_(std::move(lengths)) {
    int64_t pages = 0;
    for (int64_t length : lengths_) {
      starts_.push_back(rows_);
      rows_ += length;
      pages += (length + 15) / 16;
    }
    q_ = RandomValues(rows_ * QStride(), seed, 2.0f);
    k_ = RandomValues(rows_ * KvStride(), seed + 1);
    v_ = RandomValues(rows_ * KvStride(), seed + 2);
    const std::vector<float> sinks = RandomValues(shape_.heads, seed + 3, 2.0f);
    sinks_.assign(sinks.begin(), sinks.end());
    bias_weights_ = RandomValues(shape_.buckets.buckets * shape_.heads, seed + 4);
    if (shape_.buckets.buckets > 0) bias_.emplace(shape_.buckets, bias_weights_);
    ShufflePages(pages, seed);
  }

  const Shape& shape() const { return shape_; }
  const std::vector<int64_t>& lengths() const { return lengths_; }
  float& Q(int64_t sequence, int64_t row, int64_t head) {
    return q_[(starts_[sequence] + row) * QStride() + head * shape_.head_dim];
  }
  float& K(int64_t sequence, int64_t row, int64_t head) {
    return k_[(starts_[sequence] + row) * KvStride() + head * shape_.head_dim];
  }
  float& V(int64_t sequence, int64_t row, int64_t head) {
    return v_[(starts_[sequence] + row) * KvStride() + head * shape_.Layout().value_elements()];
  }
  const std::vector<float>& v() const { return v_; }
  float sink(int64_t head) const { return sinks_[head]; }

  // Rows [first, first + rows) of one sequence.
  struct Piece {
    size_t sequence;
    int64_t first;
    int64_t rows;
    int64_t other = -1;  // the sequence whose keys they see, all of them, if not their own
  };

  void Store(const std::vector<Piece>& pieces, ThreadPool& pool) {
    StoreWith(pieces, [&](const StoreKvArgs& args) { StoreKv(args, pool); });
  }

  // The output of the pieces' rows, in their order; the reference without a pool.
  template <typename T>
  std::vector<T> Attend(const std::vector<Piece>& pieces, ThreadPool* pool) {
    const DeviceVector<T> output = AttendWith<T>(pieces, [&](const AttentionArgs& args) {
      if (pool != nullptr) {
        Attention(args, *pool);
      } else {
        AttentionReference(args);
      }
    });
    return {output.begin(), output.end()};
  }

  // Likewise by any implementation, which must have run when the function returns.
  template <typename F>
  void StoreWith(const std::vector<Piece>& pieces, F&& store) {
    const Gathered gathered = Gather(pieces);
    store({.layout = shape_.Layout(),
           .cache = cache_.data(),
           .sequences = gathered.sequences,
           .k = gathered.k.data(),
           .v = shape_.values_in_keys ? nullptr : gathered.v.data(),
           .row_stride = KvStride()});
  }

  template <typename T, typename F>
  DeviceVector<T> AttendWith(const std::vector<Piece>& pieces, F&& attend) {
    const Gathered gathered = Gather(pieces);
    DeviceVector<T> output(gathered.rows * Width());
    attend({.layout = shape_.Layout(),
            .cache = cache_.data(),
            .sequences = gathered.sequences,
            .q = gathered.q.data(),
            .q_stride = QStride(),
            .heads = shape_.heads,
            .scale = Scale(),
            .window = shape_.window,
            .relative_bias = bias_ ? bias_->table() : RelativeBiasTable{},
            .sinks = shape_.sinks ? sinks_.data() : nullptr,
            .output = output.data(),
            .output_type = sizeof(T) == 4 ? DType::kFloat32 : DType::kBfloat16});
    return output;
  }

  const DeviceVector<char>& cache() const { return cache_; }

  // Of an output row.
  int64_t Width() const { return shape_.heads * shape_.Layout().value_elements(); }

  // What the row's head should be, from softmax(q k^T * scale + bias) v in double precision.
  std::vector<double> Expected(const Piece& piece, int64_t row, int64_t head) {
    const int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
    const int64_t keys_of = piece.other < 0 ? static_cast<int64_t>(piece.sequence) : piece.other;
    const bool all = shape_.all_keys || piece.other >= 0;
    const int64_t first =
        all || shape_.window == 0 ? 0 : std::max<int64_t>(0, row - shape_.window + 1);
    const int64_t last = all ? lengths_[keys_of] - 1 : row;
    double total = shape_.sinks ? std::exp(static_cast<double>(sinks_[head])) : 0;
    std::vector<double> mean(shape_.Layout().value_elements(), 0.0);
    for (int64_t j = first; j <= last; ++j) {
      const float* const k = &K(keys_of, j, kv_head);
      double score = 0;
      for (int64_t d = 0; d < shape_.head_dim; ++d) {
        score += static_cast<double>((&Q(piece.sequence, row, head))[d]) * k[d];
      }
      score *= Scale();
      if (bias_) {
        score += bias_weights_[RelativeBucket(shape_.buckets, j - row) * shape_.heads + head];
      }
      const double weight = std::exp(score);
      total += weight;
      const float* const v = shape_.values_in_keys ? k : &V(keys_of, j, kv_head);
      for (size_t d = 0; d < mean.size(); ++d) mean[d] += weight * v[d];
    }
    for (double& value : mean) value /= total;
    return mean;
  }

  std::vector<Piece> Whole() const {
    std::vector<Piece> pieces;
    for (size_t s = 0; s < lengths_.size(); ++s) pieces.push_back({s, 0, lengths_[s]});
    return pieces;
  }

 private:
  struct Gathered {
    std::vector<AttentionSequence> sequences;
    Floats q, k, v;
    int64_t rows = 0;
  };

  int64_t QStride() const { return shape_.heads * shape_.head_dim + 5; }
  int64_t KvStride() const {
    return shape_.kv_heads * std::max(shape_.head_dim, shape_.value_dim) + 3;
  }
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)); }

  // Every sequence gets pages from all over the cache, filled with NaN: what no row wrote counts
  // nowhere.
  void ShufflePages(int64_t pages, uint32_t seed) {
    std::vector<int32_t> ids(pages + 2);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(seed));
    auto next = ids.begin();
    for (int64_t length : lengths_) {
      const int64_t count = (length + 15) / 16;
      pages_.emplace_back(next, next + count);
      next += count;
    }
    cache_.assign(ids.size() * shape_.Layout().page_bytes(), '\xff');
  }

  Gathered Gather(const std::vector<Piece>& pieces) const {
    Gathered gathered;
    const auto append = [&](const Piece& piece, const std::vector<float>& from, int64_t stride,
                            Floats& to) {
      const auto begin = from.begin() + (starts_[piece.sequence] + piece.first) * stride;
      to.insert(to.end(), begin, begin + piece.rows * stride);
    };
    for (const Piece& piece : pieces) {
      const int64_t keys_of = piece.other < 0 ? static_cast<int64_t>(piece.sequence) : piece.other;
      const bool all = shape_.all_keys || piece.other >= 0;
      gathered.sequences.push_back({.pages = pages_[keys_of].data(),
                                    .first_position = piece.first,
                                    .rows = piece.rows,
                                    .keys = all ? lengths_[keys_of] : 0});
      append(piece, q_, QStride(), gathered.q);
      append(piece, k_, KvStride(), gathered.k);
      append(piece, v_, KvStride(), gathered.v);
      gathered.rows += piece.rows;
    }
    return gathered;
  }

  Shape shape_;
  std::vector<int64_t> lengths_;
  std::vector<int64_t> starts_;
  int64_t rows_ = 0;
  std::vector<float> q_, k_, v_, bias_weights_;
  Floats sinks_;
  std::optional<RelativeBias> bias_;
  std::vector<std::vector<int32_t>> pages_;
  DeviceVector<char> cache_;
};

}  // namespace switchyard::kernels::testing
