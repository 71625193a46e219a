#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::RandomValues;
using testing::SameBits;

struct Shape {
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 32;
  int64_t window = 0;
  DType type = DType::kFloat32;
};

std::string Describe(const Shape& s) {
  return std::to_string(s.heads) + " heads, " + std::to_string(s.kv_heads) + " kv heads of " +
         std::to_string(s.head_dim) + ", window " + std::to_string(s.window) +
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
  const std::vector<float>& v() const { return v_; }

  // Rows [first, first + rows) of one sequence.
  struct Piece {
    size_t sequence;
    int64_t first;
    int64_t rows;
  };

  void Store(const std::vector<Piece>& pieces, ThreadPool& pool) {
    const Gathered gathered = Gather(pieces);
    StoreKv({.layout = Layout(),
             .cache = cache_.data(),
             .sequences = gathered.sequences,
             .k = gathered.k.data(),
             .v = gathered.v.data(),
             .row_stride = KvStride()},
            pool);
  }

  // The output of the pieces' rows, in their order; the reference without a pool.
  template <typename T>
  std::vector<T> Attend(const std::vector<Piece>& pieces, ThreadPool* pool) {
    const Gathered gathered = Gather(pieces);
    std::vector<T> output(gathered.rows * shape_.heads * shape_.head_dim);
    const AttentionArgs args{.layout = Layout(),
                             .cache = cache_.data(),
                             .sequences = gathered.sequences,
                             .q = gathered.q.data(),
                             .q_stride = QStride(),
                             .heads = shape_.heads,
                             .scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)),
                             .window = shape_.window,
                             .output = output.data(),
                             .output_type = sizeof(T) == 4 ? DType::kFloat32 : DType::kBfloat16};
    if (pool != nullptr) {
      Attention(args, *pool);
    } else {
      AttentionReference(args);
    }
    return output;
  }

  std::vector<Piece> Whole() const {
    std::vector<Piece> pieces;
    for (size_t s = 0; s < lengths_.size(); ++s) pieces.push_back({s, 0, lengths_[s]});
    return pieces;
  }

 private:
  struct Gathered {
    std::vector<AttentionSequence> sequences;
    std::vector<float> q, k, v;
    int64_t rows = 0;
  };

  int64_t QStride() const { return shape_.heads * shape_.head_dim + 5; }
  int64_t KvStride() const { return shape_.kv_heads * shape_.head_dim + 3; }
  KvLayout Layout() const {
    return {.type = shape_.type, .kv_heads = shape_.kv_heads, .head_dim = shape_.head_dim};
  }

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
    cache_.assign(ids.size() * Layout().page_bytes(), '\xff');
  }

  Gathered Gather(const std::vector<Piece>& pieces) const {
    Gathered gathered;
    const auto append = [&](const Piece& piece, const std::vector<float>& from, int64_t stride,
                            std::vector<float>& to) {
      const auto begin = from.begin() + (starts_[piece.sequence] + piece.first) * stride;
      to.insert(to.end(), begin, begin + piece.rows * stride);
    };
    for (const Piece& piece : pieces) {
      gathered.sequences.push_back({.pages = pages_[piece.sequence].data(),
                                    .first_position = piece.first,
                                    .rows = piece.rows});
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
  std::vector<float> q_, k_, v_;
  std::vector<std::vector<int32_t>> pages_;
  std::vector<char> cache_;
};

const Shape kShapes[] = {
    {.heads = 4, .kv_heads = 4, .head_dim = 16},
    {.heads = 8, .kv_heads = 2, .head_dim = 32, .window = 24},
    {.heads = 12, .kv_heads = 1, .head_dim = 64, .type = DType::kBfloat16},
    {.heads = 6, .kv_heads = 2, .head_dim = 40, .window = 100, .type = DType::kBfloat16},
    {.heads = 1, .kv_heads = 1, .head_dim = 8},
    {.heads = 5, .kv_heads = 1, .head_dim = 128, .window = 1},
    {.heads = 14, .kv_heads = 2, .head_dim = 20, .window = 2},
    {.heads = 32, .kv_heads = 1, .head_dim = 16, .window = 65},
};

class AttentionShapeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(AttentionShapeTest, EveryLevelAndThreadCountEqualsTheReference) {
  Batch batch(GetParam(), {1, 70, 16, 140});
  ThreadPool one(1);
  batch.Store(batch.Whole(), one);
  const std::vector<float> expected = batch.Attend<float>(batch.Whole(), nullptr);
  const std::vector<uint16_t> expected_bf16 = batch.Attend<uint16_t>(batch.Whole(), nullptr);
  for (float value : expected) ASSERT_TRUE(std::isfinite(value));
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel scope(level);
    for (int threads : {1, 2, 5}) {
      SCOPED_TRACE(::testing::Message() << Name(level) << ", " << threads << " threads");
      ThreadPool pool(threads);
      EXPECT_TRUE(SameBits(batch.Attend<float>(batch.Whole(), &pool), expected));
      EXPECT_TRUE(SameBits(batch.Attend<uint16_t>(batch.Whole(), &pool), expected_bf16));
    }
  }
}

// Chunked prefill, every chunk stored just before it is attended, together with other sequences'.
TEST_P(AttentionShapeTest, ChunksAndBatchesDoNotChangeARow) {
  const std::vector<int64_t> lengths = {150, 40};
  Batch whole(GetParam(), lengths);
  ThreadPool pool(2);
  whole.Store(whole.Whole(), pool);
  const std::vector<float> expected = whole.Attend<float>(whole.Whole(), &pool);
  const int64_t width = GetParam().heads * GetParam().head_dim;
  for (int64_t chunk : {1, 7, 16}) {
    SCOPED_TRACE(chunk);
    Batch batch(GetParam(), lengths);
    for (int64_t first = 0; first < lengths[0]; first += chunk) {
      std::vector<Batch::Piece> pieces;
      std::vector<int64_t> offsets;
      for (size_t s : {size_t{1}, size_t{0}}) {  // in the other order
        if (first >= lengths[s]) continue;
        pieces.push_back({s, first, std::min(chunk, lengths[s] - first)});
        offsets.push_back((s == 0 ? first : lengths[0] + first) * width);
      }
      batch.Store(pieces, pool);
      const std::vector<float> actual = batch.Attend<float>(pieces, &pool);
      auto begin = actual.begin();
      for (size_t p = 0; p < pieces.size(); ++p) {
        const int64_t count = pieces[p].rows * width;
        ASSERT_TRUE(SameBits(std::vector<float>(begin, begin + count),
                             std::vector<float>(expected.begin() + offsets[p],
                                                expected.begin() + offsets[p] + count)))
            << "sequence " << pieces[p].sequence << " from " << first;
        begin += count;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionShapeTest, ::testing::ValuesIn(kShapes),
                         [](const auto& info) { return "shape_" + std::to_string(info.index); });

// Decode of a few long sequences: their blocks are cut over the threads.
TEST(AttentionTest, LongDecodeCutOverThreadsEqualsTheReference) {
  for (Shape shape : {Shape{.heads = 12, .kv_heads = 1, .head_dim = 32},
                      Shape{.heads = 4, .kv_heads = 4, .head_dim = 16, .window = 1000},
                      Shape{.heads = 7, .kv_heads = 1, .head_dim = 48, .type = DType::kBfloat16}}) {
    Batch batch(shape, {1500, 3, 700});
    ThreadPool one(1);
    batch.Store(batch.Whole(), one);
    const std::vector<Batch::Piece> decode = {{0, 1499, 1}, {1, 2, 1}, {2, 695, 5}};
    const std::vector<float> expected = batch.Attend<float>(decode, nullptr);
    for (CpuLevel level : RunnableCpuLevels()) {
      ScopedCpuLevel scope(level);
      for (int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        EXPECT_TRUE(SameBits(batch.Attend<float>(decode, &pool), expected))
            << Name(level) << ", " << threads << " threads, " << Describe(shape);
      }
    }
  }
}

// The definition against softmax(q k^T) v in double precision.
TEST(AttentionTest, IsCloseToDoublePrecision) {
  const Shape shape{.heads = 2, .kv_heads = 1, .head_dim = 32, .window = 90};
  const int64_t length = 200, width = shape.heads * shape.head_dim;
  Batch batch(shape, {length});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<float> actual = batch.Attend<float>(batch.Whole(), &pool);
  for (int64_t row = 0; row < length; row += 13) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t first = std::max<int64_t>(0, row - shape.window + 1);
      double total = 0;
      std::vector<double> mean(shape.head_dim, 0.0);
      for (int64_t j = first; j <= row; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          dot += static_cast<double>((&batch.Q(0, row, head))[d]) * (&batch.K(0, j, 0))[d];
        }
        const double weight = std::exp(dot / std::sqrt(static_cast<double>(shape.head_dim)));
        total += weight;
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          mean[d] += weight * batch.v()[j * (shape.head_dim + 3) + d];
        }
      }
      for (int64_t d = 0; d < shape.head_dim; ++d) {
        ASSERT_NEAR(actual[row * width + head * shape.head_dim + d], mean[d] / total, 3e-6)
            << "row " << row;
      }
    }
  }
}

TEST(AttentionTest, OneKeyGivesItsValue) {
  for (DType type : {DType::kFloat32, DType::kBfloat16}) {
    Batch batch({.heads = 2, .kv_heads = 2, .head_dim = 16, .type = type}, {1});
    ThreadPool pool(1);
    batch.Store(batch.Whole(), pool);
    std::vector<float> expected(batch.v().begin(), batch.v().begin() + 32);
    if (type == DType::kBfloat16) {
      for (float& value : expected) value = RoundToBf16(value);
    }
    EXPECT_EQ(batch.Attend<float>(batch.Whole(), &pool), expected);
  }
}

TEST(AttentionTest, WindowOfOneSeesOnlyItself) {
  Batch batch({.heads = 1, .kv_heads = 1, .head_dim = 16, .window = 1}, {70});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<float> actual = batch.Attend<float>(batch.Whole(), &pool);
  for (int64_t row = 0; row < 70; ++row) {
    EXPECT_EQ(actual[row * 16], batch.v()[row * 19]) << row;
  }
}

TEST(AttentionTest, HugeScoresChooseTheLargest) {
  Batch batch({.heads = 1, .kv_heads = 1, .head_dim = 16}, {100});
  for (int64_t d = 0; d < 16; ++d) (&batch.Q(0, 99, 0))[d] = d == 0 ? 1e18f : 0.0f;
  for (int64_t j = 0; j < 100; ++j) batch.K(0, j, 0) = j == 70 ? 1e18f : -1e18f;
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<float> actual = batch.Attend<float>(batch.Whole(), &pool);
  for (int64_t d = 0; d < 16; ++d) EXPECT_EQ(actual[99 * 16 + d], batch.v()[70 * 19 + d]);
}

TEST(AttentionTest, NanStaysInItsRowAndHead) {
  const Shape shape{.heads = 8, .kv_heads = 1, .head_dim = 16};
  Batch clean(shape, {90}), dirty(shape, {90});
  dirty.Q(0, 80, 3) = NAN;
  ThreadPool pool(2);
  clean.Store(clean.Whole(), pool);
  dirty.Store(dirty.Whole(), pool);
  const std::vector<float> expected = clean.Attend<float>(clean.Whole(), &pool);
  for (CpuLevel level : RunnableCpuLevels()) {
    ScopedCpuLevel scope(level);
    const std::vector<float> actual = dirty.Attend<float>(dirty.Whole(), &pool);
    for (size_t i = 0; i < actual.size(); ++i) {
      if (i / 16 == 80 * 8 + 3) {
        EXPECT_TRUE(std::isnan(actual[i]));
      } else {
        ASSERT_TRUE(SameBits(actual[i], expected[i])) << i;
      }
    }
  }
}

TEST(AttentionTest, EmptyBatchIsNothing) {
  Batch batch({}, {3});
  ThreadPool pool(2);
  batch.Store({}, pool);
  EXPECT_TRUE(batch.Attend<float>({}, &pool).empty());
  EXPECT_TRUE(batch.Attend<float>({{0, 2, 0}}, &pool).empty());
}

}  // namespace
}  // namespace switchyard::kernels
