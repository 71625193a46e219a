#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/test_batch.h"
#include "kernels/testing/devices.h"
#include "kernels/testing/values.h"

namespace switchyard::kernels {
namespace {

using testing::Batch;
using testing::Describe;
using testing::SameBits;
using testing::Shape;

const Shape kShapes[] = {
    {.heads = 4, .kv_heads = 4, .head_dim = 16},
    {.heads = 6, .kv_heads = 2, .head_dim = 40, .window = 24},
    {.heads = 5, .kv_heads = 1, .head_dim = 64, .window = 100, .type = DType::kBfloat16},
    {.heads = 1, .kv_heads = 1, .head_dim = 8, .window = 1},
    {.heads = 3, .kv_heads = 1, .head_dim = 160, .window = 65},
    // gpt-oss
    {.heads = 4, .kv_heads = 2, .head_dim = 24, .window = 30, .sinks = true},
    // GLaM; Switch's encoder
    {.heads = 2, .kv_heads = 1, .head_dim = 32, .buckets = {.buckets = 8, .max_distance = 12}},
    {.heads = 2,
     .kv_heads = 2,
     .head_dim = 16,
     .all_keys = true,
     .buckets = {.buckets = 32, .max_distance = 40, .bidirectional = true}},
    {.heads = 4, .kv_heads = 2, .head_dim = 20, .all_keys = true, .type = DType::kBfloat16},
    // MLA
    {.heads = 3, .kv_heads = 1, .head_dim = 48, .value_dim = 32, .values_in_keys = true},
    {.heads = 5,
     .kv_heads = 1,
     .head_dim = 46,
     .value_dim = 38,
     .values_in_keys = true,
     .sinks = true,
     .type = DType::kBfloat16},
    // values of another width; more than there are threads
    {.heads = 4, .kv_heads = 2, .head_dim = 24, .value_dim = 40},
    {.heads = 1, .kv_heads = 1, .head_dim = 16, .value_dim = 300, .type = DType::kBfloat16},
};

void Store(Batch& batch, const std::vector<Batch::Piece>& pieces, Device& device) {
  batch.StoreWith(pieces, [&](const StoreKvArgs& args) {
    device.StoreKv(args);
    ASSERT_TRUE(device.Finish().ok());
  });
}

template <typename T>
DeviceVector<T> Attend(Batch& batch, const std::vector<Batch::Piece>& pieces, Device& device) {
  return batch.AttendWith<T>(pieces, [&](const AttentionArgs& args) {
    device.Attention(args);
    ASSERT_TRUE(device.Finish().ok());
  });
}

class AttentionSimtShapeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(AttentionSimtShapeTest, StoresTheSameCache) {
  ThreadPool pool(1);
  for (Device* device : testing::TestDevices()) {
    Batch expected(GetParam(), {1, 40, 17}), actual(GetParam(), {1, 40, 17});
    const std::vector<Batch::Piece> pieces = {{2, 3, 14}, {0, 0, 0}, {1, 0, 40}};
    expected.Store(pieces, pool);
    Store(actual, pieces, *device);
    EXPECT_EQ(actual.cache(), expected.cache()) << device->name() << ", " << Describe(GetParam());
  }
}

TEST_P(AttentionSimtShapeTest, EqualsTheReference) {
  Batch batch(GetParam(), {1, 70, 16, 140});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  // Prefill from the start and from the middle, and one row alone.
  for (const std::vector<Batch::Piece>& pieces :
       {batch.Whole(), {{3, 101, 39}, {1, 0, 0}, {2, 15, 1}}}) {
    const std::vector<float> expected = batch.Attend<float>(pieces, nullptr);
    const std::vector<uint16_t> expected_bf16 = batch.Attend<uint16_t>(pieces, nullptr);
    for (float value : expected) ASSERT_TRUE(std::isfinite(value));
    for (Device* device : testing::TestDevices()) {
      SCOPED_TRACE(::testing::Message() << device->name() << ", " << Describe(GetParam()));
      EXPECT_TRUE(SameBits(Attend<float>(batch, pieces, *device), expected));
      EXPECT_TRUE(SameBits(Attend<uint16_t>(batch, pieces, *device), expected_bf16));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionSimtShapeTest, ::testing::ValuesIn(kShapes),
                         [](const auto& info) { return "shape_" + std::to_string(info.index); });

TEST(AttentionSimtTest, LongDecode) {
  Batch batch({.heads = 2,
               .kv_heads = 1,
               .head_dim = 48,
               .value_dim = 40,
               .values_in_keys = true,
               .window = 900,
               .type = DType::kBfloat16},
              {1500, 3});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<Batch::Piece> decode = {{0, 1499, 1}, {1, 2, 1}};
  const std::vector<float> expected = batch.Attend<float>(decode, nullptr);
  for (Device* device : testing::TestDevices()) {
    EXPECT_TRUE(SameBits(Attend<float>(batch, decode, *device), expected)) << device->name();
  }
}

TEST(AttentionSimtTest, KeysOfAnotherSequence) {
  Batch batch({.heads = 4, .kv_heads = 2, .head_dim = 16}, {130, 9, 1});
  ThreadPool pool(1);
  batch.Store(batch.Whole(), pool);
  const std::vector<Batch::Piece> pieces = {{1, 2, 7, 0}, {0, 128, 2, 2}, {1, 0, 1, 0}};
  const std::vector<float> expected = batch.Attend<float>(pieces, nullptr);
  for (Device* device : testing::TestDevices()) {
    EXPECT_TRUE(SameBits(Attend<float>(batch, pieces, *device), expected)) << device->name();
  }
}

TEST(AttentionSimtTest, NanStaysInItsRowAndHead) {
  for (const float broken : {NAN, INFINITY, -INFINITY}) {
    Batch batch({.heads = 3, .kv_heads = 1, .head_dim = 16}, {90});
    batch.Q(0, 80, 1) = broken;
    ThreadPool pool(1);
    batch.Store(batch.Whole(), pool);
    const std::vector<float> expected = batch.Attend<float>(batch.Whole(), nullptr);
    EXPECT_TRUE(std::isnan(expected[80 * 48 + 16]));
    for (Device* device : testing::TestDevices()) {
      EXPECT_TRUE(SameBits(Attend<float>(batch, batch.Whole(), *device), expected))
          << device->name();
    }
  }
}

TEST(AttentionSimtTest, EmptyBatchIsNothing) {
  Batch batch({}, {3});
  for (Device* device : testing::TestDevices()) {
    Store(batch, {}, *device);
    EXPECT_TRUE(Attend<float>(batch, {{0, 2, 0}}, *device).empty());
  }
}

}  // namespace
}  // namespace switchyard::kernels
