#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/test_batch.h"
#include "kernels/base/bf16.h"
#include "kernels/base/test_levels.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::Batch;
using testing::Describe;
using testing::SameBits;
using testing::Shape;

const Shape kShapes[] = {
    {.heads = 4, .kv_heads = 4, .head_dim = 16},
    {.heads = 8, .kv_heads = 2, .head_dim = 32, .window = 24},
    {.heads = 12, .kv_heads = 1, .head_dim = 64, .type = DType::kBfloat16},
    {.heads = 6, .kv_heads = 2, .head_dim = 40, .window = 100, .type = DType::kBfloat16},
    {.heads = 1, .kv_heads = 1, .head_dim = 8},
    {.heads = 5, .kv_heads = 1, .head_dim = 128, .window = 1},
    {.heads = 14, .kv_heads = 2, .head_dim = 20, .window = 2},
    {.heads = 32, .kv_heads = 1, .head_dim = 16, .window = 65},
    // gpt-oss
    {.heads = 8, .kv_heads = 2, .head_dim = 16, .window = 30, .sinks = true},
    {.heads = 6, .kv_heads = 2, .head_dim = 24, .sinks = true, .type = DType::kBfloat16},
    // GLaM; buckets that saturate within a page, and beyond a block
    {.heads = 4, .kv_heads = 4, .head_dim = 16, .buckets = {.buckets = 8, .max_distance = 12}},
    {.heads = 3, .kv_heads = 1, .head_dim = 32, .buckets = {.buckets = 32, .max_distance = 128}},
    // Switch's encoder
    {.heads = 4,
     .kv_heads = 4,
     .head_dim = 16,
     .all_keys = true,
     .buckets = {.buckets = 32, .max_distance = 40, .bidirectional = true}},
    {.heads = 4, .kv_heads = 2, .head_dim = 20, .all_keys = true, .type = DType::kBfloat16},
    // MLA
    {.heads = 16, .kv_heads = 1, .head_dim = 48, .value_dim = 32, .values_in_keys = true},
    {.heads = 20,
     .kv_heads = 1,
     .head_dim = 46,
     .value_dim = 38,
     .values_in_keys = true,
     .type = DType::kBfloat16},
    // values of another width
    {.heads = 4, .kv_heads = 2, .head_dim = 24, .value_dim = 40},
    {.heads = 2, .kv_heads = 2, .head_dim = 40, .value_dim = 16, .type = DType::kBfloat16},
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
    for (int threads : {1, 5}) {
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
  const int64_t width = whole.Width();
  for (int64_t chunk : {1, 7, 16}) {
    SCOPED_TRACE(chunk);
    Batch batch(GetParam(), lengths);
    if (GetParam().all_keys) batch.Store(batch.Whole(), pool);
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

TEST_P(AttentionShapeTest, IsCloseToDoublePrecision) {
  Shape shape = GetParam();
  shape.type = DType::kFloat32;
  Batch batch(shape, {200});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const Batch::Piece whole = batch.Whole()[0];
  const std::vector<float> actual = batch.Attend<float>({whole}, &pool);
  for (int64_t row = 0; row < whole.rows; row += 13) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const std::vector<double> expected = batch.Expected(whole, row, head);
      const float* values = &actual[row * batch.Width() + head * expected.size()];
      for (size_t d = 0; d < expected.size(); ++d) {
        ASSERT_NEAR(values[d], expected[d], 4e-6) << "row " << row << " head " << head;
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
                      Shape{.heads = 7, .kv_heads = 1, .head_dim = 48, .type = DType::kBfloat16},
                      Shape{.heads = 8,
                      .kv_heads = 1,
                      .head_dim = 48,
                      .value_dim = 40,
                      .values_in_keys = true,
                      .sinks = true,
                      .buckets = {.buckets = 32, .max_distance = 200},
                      .type = DType::kBfloat16}}) {
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

// A decoder's rows, wherever they stand, over the keys of its encoder's sequence.
TEST(AttentionTest, KeysOfAnotherSequence) {
  const Shape shape{.heads = 4, .kv_heads = 2, .head_dim = 16};
  Batch batch(shape, {130, 9, 1});
  ThreadPool pool(2);
  batch.Store(batch.Whole(), pool);
  const std::vector<Batch::Piece> pieces = {{1, 2, 7, 0}, {0, 128, 2, 2}, {1, 0, 1, 0}};
  const std::vector<float> actual = batch.Attend<float>(pieces, &pool);
  EXPECT_TRUE(SameBits(actual, batch.Attend<float>(pieces, nullptr)));
  const float* values = actual.data();
  for (const Batch::Piece& piece : pieces) {
    for (int64_t row = piece.first; row < piece.first + piece.rows; ++row) {
      for (int64_t head = 0; head < shape.heads; ++head) {
        for (double expected : batch.Expected(piece, row, head)) {
          ASSERT_NEAR(*values++, expected, 4e-6) << "row " << row << " head " << head;
        }
      }
    }
  }
}

TEST(AttentionTest, MlaKeepsOneVectorAPosition) {
  const KvLayout layout{.type = DType::kBfloat16,
                        .kv_heads = 1,
                        .head_dim = 512 + 64,
                        .value_dim = 512,
                        .values_in_keys = true};
  EXPECT_EQ(layout.page_bytes(), 16 * (512 + 64) * 2);
}

// Values are the keys' first elements, so storing them apart must change nothing.
TEST(AttentionTest, ValuesInKeysEqualTheSameValuesStoredApart) {
  Shape apart{.heads = 5, .kv_heads = 1, .head_dim = 40, .value_dim = 24, .type = DType::kBfloat16};
  Shape together = apart;
  together.values_in_keys = true;
  Batch a(apart, {100}), b(together, {100});
  for (int64_t row = 0; row < 100; ++row) {
    std::copy_n(&a.K(0, row, 0), apart.value_dim, &a.V(0, row, 0));
  }
  ThreadPool pool(1);
  a.Store(a.Whole(), pool);
  b.Store(b.Whole(), pool);
  EXPECT_TRUE(SameBits(b.Attend<float>(b.Whole(), &pool), a.Attend<float>(a.Whole(), &pool)));
}

TEST(AttentionTest, SinkTakesItsShareOfTheWeight) {
  Batch batch({.heads = 2, .kv_heads = 2, .head_dim = 16, .sinks = true}, {1});
  for (int64_t head = 0; head < 2; ++head) std::fill_n(&batch.Q(0, 0, head), 16, 0.0f);
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<float> actual = batch.Attend<float>(batch.Whole(), &pool);
  for (int64_t i = 0; i < 32; ++i) {
    EXPECT_NEAR(actual[i], batch.v()[i] / (1 + std::exp(batch.sink(i / 16))), 1e-6);
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
