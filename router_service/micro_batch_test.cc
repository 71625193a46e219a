#include "router_service/micro_batch.h"

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

model::ModelSpec Spec() {
  model::ModelSpec spec;
  spec.hidden = 8;
  spec.layers.resize(1);
  return spec;
}

class MicroBatchTest : public ::testing::Test {
 protected:
  void Assign(const std::vector<SequenceChunk>& chunks) {
    batch_.Assign(chunks, transport::Phase::kPrefill, std::chrono::seconds(1));
  }
  static SequenceChunk Chunk(int64_t first_position, int64_t rows) {
    static constexpr int32_t kTokens[32] = {};
    return {.tokens = kTokens, .first_position = first_position, .rows = rows};
  }

  const model::ModelSpec spec_ = Spec();
  MicroBatch batch_{spec_, kernels::NumericsClass::kFp32, 0, 32};
};

TEST_F(MicroBatchTest, RowsThatRotateAlikeStandTogether) {
  const kernels::RopeTable table;
  std::vector<SequenceChunk> chunks = {Chunk(0, 3), Chunk(7, 2), Chunk(1, 4), Chunk(0, 1)};
  chunks[2].rope = &table;
  Assign(chunks);
  ASSERT_EQ(batch_.rope_runs().size(), 3u);
  EXPECT_EQ(batch_.rope_runs()[0].rows, 5);
  EXPECT_EQ(batch_.rope_runs()[1].table, &table);
  EXPECT_EQ(batch_.rope_runs()[1].first_row, 5);
  EXPECT_EQ(batch_.rope_runs()[1].rows, 4);
  EXPECT_EQ(batch_.rope_runs()[2].first_row, 9);
}

TEST_F(MicroBatchTest, RowsShareACapacityOnlyWithTheirOwnKind) {
  std::vector<SequenceChunk> chunks = {Chunk(0, 4), Chunk(0, 3), Chunk(0, 5), Chunk(9, 1)};
  chunks[0].full_pass = chunks[1].full_pass = true;
  chunks[0].counted_together = 4;
  chunks[1].counted_together = 3;
  chunks[2].counted_together = 3;  // then two rows that count alone
  Assign(chunks);
  ASSERT_EQ(batch_.routing_runs().size(), 2u);
  const RoutingRun& full = batch_.routing_runs()[0];
  EXPECT_TRUE(full.full_pass);
  EXPECT_EQ(full.rows, 7);
  ASSERT_EQ(full.ranges.size(), 2u);
  EXPECT_EQ(full.ranges[1].begin, 4);
  EXPECT_EQ(full.ranges[1].end, 7);
  const RoutingRun& generation = batch_.routing_runs()[1];
  EXPECT_FALSE(generation.full_pass);
  EXPECT_EQ(generation.first_row, 7);
  EXPECT_EQ(generation.rows, 6);
  ASSERT_EQ(generation.ranges.size(), 4u);  // counted from the run's first row
  EXPECT_EQ(generation.ranges[0].end, 3);
  EXPECT_EQ(generation.ranges[3].begin, 5);
  EXPECT_EQ(generation.ranges[3].end, 6);
}

TEST_F(MicroBatchTest, AnEncodersRowsSeeAllOfTheSource) {
  SequenceChunk chunk = Chunk(0, 6);
  chunk.encoder = true;
  Assign({chunk});
  EXPECT_TRUE(batch_.encoder());
  EXPECT_EQ(batch_.sequences()[0].keys, 6);
  EXPECT_TRUE(batch_.source_sequences().empty());

  const int32_t page = 3;
  chunk = Chunk(2, 1);
  chunk.source_pages = &page;
  chunk.source_rows = 6;
  Assign({chunk});
  EXPECT_FALSE(batch_.encoder());
  EXPECT_EQ(batch_.sequences()[0].keys, 0);
  EXPECT_EQ(batch_.source_sequences()[0].pages, &page);
  EXPECT_EQ(batch_.source_sequences()[0].keys, 6);
}

}  // namespace
}  // namespace switchyard::router
