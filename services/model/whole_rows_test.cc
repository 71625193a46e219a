#include "services/model/whole_rows.h"

#include "gtest/gtest.h"

namespace switchyard::model {
namespace {

ModelSpec Routed(const RouterSpec& router) {
  ModelSpec spec;
  spec.max_positions = 1 << 20;
  spec.layers.resize(2);
  spec.layers[1].ffn.router = router;
  return spec;
}

TEST(WholeRowsTest, NothingIsWholeWithoutCapacityAndEncoder) {
  const ModelSpec spec = Routed({.experts = 8, .top_k = 2});
  EXPECT_FALSE(WholeRowsOf(spec).any());
  EXPECT_EQ(MicroBatchRows(spec, 256), 256);
}

TEST(WholeRowsTest, ACapacityOfFullPassesLeavesPromptsFree) {
  for (const RouterSpec& router :
       {RouterSpec{.capacity = 64}, RouterSpec{.capacity_factor = 1.25}}) {
    const WholeRows whole = WholeRowsOf(Routed(router));
    EXPECT_TRUE(whole.evaluations);
    EXPECT_FALSE(whole.prompts);
    EXPECT_FALSE(whole.sources);
  }
  EXPECT_TRUE(WholeRowsOf(Routed({.decode_capacity_factor = 2})).prompts);
}

TEST(WholeRowsTest, MicroBatchesHoldTheLongestWholeRowsUpToABound) {
  ModelSpec spec = Routed({.capacity = 64});
  EXPECT_EQ(MicroBatchRows(spec, 256), 4096);
  EXPECT_EQ(MicroBatchRows(spec, 10'000), 10'000);
  spec.max_positions = 512;
  EXPECT_EQ(MicroBatchRows(spec, 256), 512);
  EXPECT_EQ(MicroBatchRows(spec, 1024), 1024);
}

}  // namespace
}  // namespace switchyard::model
