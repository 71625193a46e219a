// Layout, schedule and plan of the grouped GEMM: all that is decided without a device.

#include "kernels/expert_ffn/grouped_gemm_layout.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "kernels/expert_ffn/grouped_gemm_descriptor_model.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_schedule.h"

namespace switchyard::kernels::grouped {
namespace {

TEST(TokenWidthTest, IsTheNarrowestThatHolds) {
  for (int tokens = 1; tokens <= kMostTokens; ++tokens) {
    int expected = 0;
    for (const int width : kTokenWidths) {
      if (width >= tokens && expected == 0) expected = width;
    }
    EXPECT_EQ(TokenWidth(tokens), expected) << tokens;
  }
}

TEST(SwizzleTest, ExchangesChunksWithinALine) {
  std::set<uint32_t> seen;
  for (uint32_t line = 0; line < 8; ++line) {
    for (uint32_t k = 0; k < kStepDepth; ++k) {
      const uint32_t offset = TileOffset(line, k);
      EXPECT_EQ(offset / kLineBytes, line);
      EXPECT_EQ(offset % 16, 2 * k % 16);
      EXPECT_EQ(offset % kLineBytes / 16, (2 * k / 16) ^ line);
      EXPECT_EQ(Swizzle(offset), line * kLineBytes + 2 * k);
      seen.insert(offset);
    }
  }
  EXPECT_EQ(seen.size(), 8u * kStepDepth);
}

// Eight threads that read the same chunk of eight lines, as the instruction does, touch all banks.
TEST(SwizzleTest, AColumnOfChunksHasNoBankConflict) {
  for (uint32_t chunk = 0; chunk < 8; ++chunk) {
    std::set<uint32_t> banks;
    for (uint32_t line = 0; line < 8; ++line) {
      banks.insert(TileOffset(line, 8 * chunk) % kLineBytes / 16);
    }
    EXPECT_EQ(banks.size(), 8u);
  }
}

TEST(DescriptorTest, TheInstructionReadsWhatTheCopiesWrote) {
  const SharedLayout shared{.warpgroups = 2, .width = 128, .stages = 4};
  for (int stage = 0; stage < shared.stages; ++stage) {
    for (const uint32_t tile :
         {shared.weights(stage, 0), shared.weights(stage, 1), shared.tokens(stage)}) {
      ASSERT_EQ(tile % kAtomBytes, 0u);
      for (uint32_t row = 0; row < kBlockRows; ++row) {
        for (uint32_t k = 0; k < kStepDepth; ++k) {
          const uint64_t descriptor = OperandDescriptor(tile) +
                                      row / kInstructionRows * kDescriptorHalf +
                                      k / kInstructionDepth * kDescriptorStep;
          ASSERT_EQ(testing::AddressRead(descriptor, row % kInstructionRows, k % kInstructionDepth),
                    tile + TileOffset(row, k))
              << "row " << row << ", k " << k;
        }
      }
    }
  }
}

TEST(ChunkBytesTest, CountsARowOnce) {
  for (const int64_t k : {1, 7, 8, 63, 64, 65, 100, 768}) {
    int64_t bytes = 0;
    for (int64_t step = 0; step < CeilDiv(k, kStepDepth); ++step) {
      for (int64_t chunk = 0; chunk < 8; ++chunk) bytes += ChunkBytes(k, step, chunk);
    }
    EXPECT_EQ(bytes, 2 * k);
  }
}

// A thread's registers of an instruction are neighbouring rows of W, and all threads' are all rows.
TEST(TileLayoutTest, AThreadsRowsAreNeighbours) {
  std::set<int64_t> seen;
  for (int thread = 0; thread < 128; ++thread) {
    for (int upper = 0; upper < 2; ++upper) {
      const int line = 16 * (thread / 32) + 8 * upper + thread % 32 / 4;
      const int feature = FirstFeatureOfThread(thread) + upper;
      EXPECT_EQ(TileLayout::LineInTile(feature), line);
      seen.insert(feature);
    }
  }
  EXPECT_EQ(seen.size(), size_t{kInstructionRows});
}

TEST(ProductShapeTest, BlocksHoldEveryTileOnce) {
  for (const int64_t features : {1, 64, 65, 128, 150, 200}) {
    const ProductShape one{.features = features, .k = 64, .paired = false};
    const ProductShape pair{.features = features, .k = 64, .paired = true};
    const int64_t tiles = TileLayout{.n = features, .k = 64}.row_tiles();
    EXPECT_EQ(pair.blocks(), tiles);
    EXPECT_EQ(one.blocks(), (tiles + 1) / 2);
    for (int64_t block = 0; block < pair.blocks(); ++block) {
      for (int half = 0; half < 2; ++half) {
        EXPECT_EQ(pair.row_tile(block, half), block);
        EXPECT_EQ(one.row_tile(block, half), 2 * block + half);
      }
    }
  }
}

// (expert, row tile, row) of every tile of a launch, with how often it is computed.
std::map<std::tuple<int, int, int>, int> Computed(const std::vector<RowGroup>& groups,
                                                  int32_t row_tiles, int32_t grid) {
  std::map<std::tuple<int, int, int>, int> computed;
  for (int32_t block = 0; block < grid; ++block) {
    TileCursor cursor(groups.data(), static_cast<int32_t>(groups.size()), row_tiles);
    Tile tile;
    for (int64_t i = block; cursor.Seek(i, &tile); i += grid) {
      EXPECT_GE(tile.tokens, 1);
      EXPECT_LE(tile.tokens, kMostTokens);
      for (int32_t token = 0; token < tile.tokens; ++token) {
        ++computed[{tile.expert, tile.row_tile, tile.first_row + token}];
      }
    }
  }
  return computed;
}

TEST(ScheduleTest, EveryRowMeetsEveryRowTileOfItsExpertOnce) {
  const std::vector<std::vector<int32_t>> cases = {
      {}, {0}, {1}, {0, 0, 5, 0}, {128}, {129, 0, 300, 1}, {1, 1, 1, 1, 1, 1, 1, 1}};
  for (const auto& rows : cases) {
    std::vector<RowGroup> groups;
    int32_t first = 3;
    for (const int32_t count : rows) {
      groups.push_back({static_cast<int32_t>(groups.size()), first, count});
      first += count;
    }
    for (const int32_t row_tiles : {1, 3}) {
      for (const int32_t grid : {1, 2, 5, 1000}) {
        const auto computed = Computed(groups, row_tiles, grid);
        size_t expected = 0;
        for (const RowGroup& group : groups) {
          expected += static_cast<size_t>(group.rows * row_tiles);
          for (int32_t tile = 0; tile < row_tiles; ++tile) {
            for (int32_t row = 0; row < group.rows; ++row) {
              const auto found = computed.find({group.expert, tile, group.first_row + row});
              ASSERT_NE(found, computed.end());
              ASSERT_EQ(found->second, 1);
            }
          }
        }
        EXPECT_EQ(computed.size(), expected);
      }
    }
  }
}

TEST(ScheduleTest, TilesOfTheSameWeightsAreNeighbours) {
  const RowGroup group{.expert = 0, .first_row = 0, .rows = 300};
  TileCursor cursor(&group, 1, 2);
  Tile tile;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(cursor.Seek(i, &tile));
    EXPECT_EQ(tile.row_tile, i / 3);
    EXPECT_EQ(tile.first_row, i % 3 * 128);
  }
  EXPECT_EQ(tile.tokens, 44);
  EXPECT_FALSE(cursor.Seek(6, &tile));
}

constexpr int kMultiprocessors = 132;

TEST(PlanTest, FitsAndFillsSharedMemory) {
  const ProductShape weights{.features = 4096, .k = 14336, .paired = false};
  for (int32_t rows = 1; rows <= 512; ++rows) {
    for (const int32_t experts : {1, 8, 64}) {
      const std::vector<RowGroup> groups(static_cast<size_t>(experts), {0, 0, rows});
      const ProductPlan plan = PlanProduct(weights, groups, kMultiprocessors);
      SharedLayout more = plan.shared;
      ++more.stages;
      ASSERT_LE(plan.shared.bytes(), kSharedBudget);
      ASSERT_GT(more.bytes(), kSharedBudget);
      ASSERT_GE(plan.shared.stages, kLeastStages);
      ASSERT_GE(plan.shared.width, std::min(rows, kMostTokens));
      ASSERT_LE(plan.grid, kMultiprocessors);
      ASSERT_EQ(plan.tiles, experts * TilesOfGroup(rows, plan.row_tiles));
      ASSERT_GE(int64_t{plan.row_tiles} * plan.shared.warpgroups, weights.blocks());
    }
  }
}

TEST(PlanTest, FewTilesAreMadeSmaller) {
  const ProductShape weights{.features = 4096, .k = 14336, .paired = false};
  const std::vector<RowGroup> two(2, {0, 0, 1}), sixteen(16, {0, 0, 1});
  const ProductPlan few = PlanProduct(weights, two, kMultiprocessors);
  EXPECT_EQ(few.shared.warpgroups, 1);
  EXPECT_EQ(few.grid, 64);
  const ProductPlan many = PlanProduct(weights, sixteen, kMultiprocessors);
  EXPECT_EQ(many.shared.warpgroups, 2);
  EXPECT_EQ(many.grid, kMultiprocessors);
}

TEST(PlanTest, NoRowsAreNoTiles) {
  const ProductShape weights{.features = 64, .k = 64, .paired = true};
  EXPECT_EQ(PlanProduct(weights, {}, kMultiprocessors).tiles, 0);
  const RowGroup empty{};
  EXPECT_EQ(PlanProduct(weights, {&empty, 1}, kMultiprocessors).tiles, 0);
}

// Stages and barriers do not overlap.
TEST(SharedLayoutTest, PartsFollowOneAnother) {
  for (const int warpgroups : {1, 2}) {
    for (const int width : kTokenWidths) {
      const SharedLayout shared{.warpgroups = warpgroups, .width = width, .stages = 4};
      uint32_t end = 0;
      for (int stage = 0; stage < shared.stages; ++stage) {
        for (int i = 0; i < warpgroups; ++i) {
          EXPECT_EQ(shared.weights(stage, i), end);
          end += kBlockBytes;
        }
        EXPECT_EQ(shared.tokens(stage), end);
        end += static_cast<uint32_t>(width) * kLineBytes;
      }
      for (int stage = 0; stage < shared.stages; ++stage) {
        EXPECT_EQ(shared.full(stage), end + 8 * static_cast<uint32_t>(stage));
        EXPECT_EQ(shared.empty(stage), shared.full(stage) + 32);
      }
      EXPECT_EQ(shared.bytes(), end + 64 + kAtomBytes);
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::grouped
