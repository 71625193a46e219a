#include "gateway/prefix_index.h"

#include <gtest/gtest.h>

#include <numeric>

namespace switchyard::gateway {
namespace {

std::vector<int32_t> Prompt(int size, int first = 0) {
  std::vector<int32_t> prompt(size);
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}

bool Any(uint64_t) { return true; }

TEST(PrefixIndexTest, EqualBeginningsHaveEqualHashes) {
  const auto shorter = PrefixIndex::BlockHashes(Prompt(40));
  const auto longer = PrefixIndex::BlockHashes(Prompt(100));
  ASSERT_EQ(shorter.size(), 2u);  // whole blocks only
  EXPECT_EQ(shorter[0], longer[0]);
  EXPECT_EQ(shorter[1], longer[1]);
  // The same block after another beginning is another one.
  auto changed = Prompt(100);
  changed[0] = 999;
  EXPECT_NE(PrefixIndex::BlockHashes(changed)[1], longer[1]);
}

TEST(PrefixIndexTest, FindsTheLongestBeginningOfAUsableWorker) {
  PrefixIndex index(1000);
  index.Record(PrefixIndex::BlockHashes(Prompt(64)), 1);
  index.Record(PrefixIndex::BlockHashes(Prompt(32)), 2);  // has the first two blocks now
  const auto blocks = PrefixIndex::BlockHashes(Prompt(80));
  EXPECT_EQ(index.Find(blocks, Any), 1u);
  EXPECT_EQ(index.Find(blocks, [](uint64_t worker) { return worker == 2; }), 2u);
  EXPECT_EQ(index.Find(blocks, [](uint64_t) { return false; }), 0u);
  EXPECT_EQ(index.Find(PrefixIndex::BlockHashes(Prompt(80, 5)), Any), 0u);
  EXPECT_EQ(index.Find({}, Any), 0u);
}

TEST(PrefixIndexTest, ForgetsTheOldest) {
  PrefixIndex index(4);
  index.Record(PrefixIndex::BlockHashes(Prompt(32, 0)), 1);
  index.Record(PrefixIndex::BlockHashes(Prompt(32, 1000)), 2);
  index.Record(PrefixIndex::BlockHashes(Prompt(32, 0)), 3);  // used again
  index.Record(PrefixIndex::BlockHashes(Prompt(32, 2000)), 4);
  EXPECT_EQ(index.Find(PrefixIndex::BlockHashes(Prompt(32, 0)), Any), 3u);
  EXPECT_EQ(index.Find(PrefixIndex::BlockHashes(Prompt(32, 1000)), Any), 0u);
}

}  // namespace
}  // namespace switchyard::gateway
