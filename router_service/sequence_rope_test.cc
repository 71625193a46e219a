#include "router_service/sequence_rope.h"

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

using model::RopeKind;
using model::RopeSpec;

TEST(SequenceRopeTest, OneTableWhereLengthDoesNotCount) {
  const RopeSpec spec = {.rotary_dim = 8};
  const auto ropes = SequenceRopes::Create(spec);
  ASSERT_TRUE(ropes.ok()) << ropes.status();
  EXPECT_EQ(ropes->Of(1 << 20).table, nullptr);
  EXPECT_EQ(ropes->Of(1 << 20).regime, 0u);
  EXPECT_EQ(ropes->Default().inverse_frequency.size(), 4u);
}

TEST(SequenceRopeTest, LongropeHasTwoTables) {
  const RopeSpec spec = {.kind = RopeKind::kLongrope,
                         .original_max_positions = 64,
                         .rotary_dim = 4,
                         .short_factor = {1, 2},
                         .long_factor = {4, 8},
                         .short_mscale = 1.25,
                         .long_mscale = 1.5};
  const auto ropes = SequenceRopes::Create(spec);
  ASSERT_TRUE(ropes.ok()) << ropes.status();
  const SequenceRope within = ropes->Of(64), beyond = ropes->Of(65);
  EXPECT_EQ(within.table->inverse_frequency[0], 1.0f);
  EXPECT_EQ(within.table->attention_factor, 1.25f);
  EXPECT_EQ(beyond.table->inverse_frequency[0], 0.25f);
  EXPECT_EQ(beyond.table->attention_factor, 1.5f);
  EXPECT_NE(within.regime, beyond.regime);
  EXPECT_EQ(beyond.table, ropes->Of(500).table);
  EXPECT_EQ(beyond.regime, ropes->Of(500).regime);
}

TEST(SequenceRopeTest, DynamicStretchesWithTheLength) {
  const RopeSpec spec = {
      .kind = RopeKind::kDynamic, .factor = 4, .original_max_positions = 64, .rotary_dim = 8};
  const auto ropes = SequenceRopes::Create(spec);
  ASSERT_TRUE(ropes.ok()) << ropes.status();
  EXPECT_EQ(ropes->Of(10).table, ropes->Of(64).table);
  const SequenceRope some = ropes->Of(100), more = ropes->Of(200);
  EXPECT_LT(some.table->inverse_frequency[3], ropes->Default().inverse_frequency[3]);
  EXPECT_LT(more.table->inverse_frequency[3], some.table->inverse_frequency[3]);
  EXPECT_NE(some.regime, more.regime);
}

}  // namespace
}  // namespace switchyard::router
