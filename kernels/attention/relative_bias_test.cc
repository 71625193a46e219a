#include "kernels/attention/relative_bias.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace switchyard::kernels {
namespace {

std::vector<int64_t> Buckets(const RelativeBuckets& buckets, std::vector<int64_t> offsets) {
  for (int64_t& offset : offsets) offset = RelativeBucket(buckets, offset);
  return offsets;
}

// Values of transformers' T5Attention._relative_position_bucket.
TEST(RelativeBucketTest, OneDirectionAsTransformers) {
  const RelativeBuckets buckets{.buckets = 32, .max_distance = 128};
  EXPECT_EQ(Buckets(buckets, {5, 1, 0, -1, -15, -16, -18, -19, -20, -21, -31, -32, -63, -64}),
            (std::vector<int64_t>{0, 0, 0, 1, 15, 16, 16, 17, 17, 18, 21, 21, 26, 26}));
  EXPECT_EQ(Buckets(buckets, {-112, -113, -127, -128, -1000000}),
            (std::vector<int64_t>{30, 31, 31, 31, 31}));
}

// Distances 16, 32 and 64 lie on an edge: their logarithms are exact multiples of that of 2.
TEST(RelativeBucketTest, BothDirectionsAsTransformers) {
  const RelativeBuckets buckets{.buckets = 32, .max_distance = 128, .bidirectional = true};
  EXPECT_EQ(Buckets(buckets, {0, -1, -7, -8, -11, -12, -15, -16, -31, -32, -63, -64, -90, -91}),
            (std::vector<int64_t>{0, 1, 7, 8, 8, 9, 9, 10, 11, 12, 13, 14, 14, 15}));
  for (int64_t distance = 1; distance < 200; ++distance) {
    EXPECT_EQ(RelativeBucket(buckets, distance), 16 + RelativeBucket(buckets, -distance));
  }
}

TEST(RelativeBiasTest, TableHoldsTheBucketsWeightOfEveryOffset) {
  for (bool bidirectional : {false, true}) {
    const RelativeBuckets buckets{.buckets = 8, .max_distance = 20, .bidirectional = bidirectional};
    std::vector<float> weights;
    for (int i = 0; i < 8 * 3; ++i) weights.push_back(static_cast<float>(i));
    const RelativeBias bias(buckets, weights);
    const RelativeBiasTable table = bias.table();
    for (int64_t offset = -1000; offset <= 1000; ++offset) {
      const int64_t outermost = table.reach + RelativeBiasTable::kMargin;
      const int64_t nearest = std::clamp(offset, -outermost, outermost);
      for (int64_t head = 0; head < 3; ++head) {
        EXPECT_EQ(table.values[head * table.head_stride + nearest],
                  weights[RelativeBucket(buckets, offset) * 3 + head])
            << offset;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels
