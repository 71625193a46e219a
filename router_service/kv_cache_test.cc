#include "router_service/kv_cache.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "gtest/gtest.h"

namespace switchyard::router {
namespace {

const BlockHash kRoot = ChainRoot(1, 1, "fp32", 7);

std::vector<int32_t> Tokens(int64_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::vector<BlockHash> Chain(const std::vector<int32_t>& tokens, const BlockHash& root = kRoot) {
  std::vector<BlockHash> chain;
  ExtendChain(root, tokens, chain);
  return chain;
}

TEST(BlockChainTest, NamesFullBlocksOnly) {
  EXPECT_EQ(Chain(Tokens(15)).size(), 0u);
  EXPECT_EQ(Chain(Tokens(16)).size(), 1u);
  EXPECT_EQ(Chain(Tokens(47)).size(), 2u);
}

TEST(BlockChainTest, GrowsTheSameInPieces) {
  const std::vector<int32_t> tokens = Tokens(100);
  std::vector<BlockHash> chain;
  for (size_t size = 0; size <= tokens.size(); ++size) {
    ExtendChain(kRoot, std::span(tokens).first(size), chain);
  }
  EXPECT_EQ(chain, Chain(tokens));
}

TEST(BlockChainTest, DependsOnEverythingBefore) {
  std::vector<int32_t> other = Tokens(48);
  other[3] = 99;
  const std::vector<BlockHash> a = Chain(Tokens(48)), b = Chain(other);
  for (size_t i = 0; i < 3; ++i) EXPECT_NE(a[i], b[i]);
}

TEST(BlockChainTest, DependsOnModelVersionClassAndSeed) {
  const std::vector<BlockHash> base = Chain(Tokens(16));
  EXPECT_NE(base, Chain(Tokens(16), ChainRoot(2, 1, "fp32", 7)));
  EXPECT_NE(base, Chain(Tokens(16), ChainRoot(1, 2, "fp32", 7)));
  EXPECT_NE(base, Chain(Tokens(16), ChainRoot(1, 1, "bf16", 7)));
  EXPECT_NE(base, Chain(Tokens(16), ChainRoot(1, 1, "fp32", 8)));
}

TEST(KvCacheTest, SharesThePublishedRun) {
  KvCache cache(8);
  const std::vector<BlockHash> chain = Chain(Tokens(48));
  std::vector<int32_t> first, second;
  ASSERT_EQ(cache.Acquire(chain, 4, 0, first), 0);
  cache.Publish(first[0], chain[0]);
  cache.Publish(first[1], chain[1]);
  ASSERT_EQ(cache.Acquire(chain, 4, 0, second), 2);
  EXPECT_EQ(second[0], first[0]);
  EXPECT_EQ(second[1], first[1]);
  EXPECT_NE(second[2], first[2]);
  EXPECT_EQ(cache.used_pages(), 6);
  cache.Release(first);
  EXPECT_EQ(cache.used_pages(), 4);
  cache.Release(second);
  EXPECT_EQ(cache.used_pages(), 0);
}

TEST(KvCacheTest, AGapEndsTheRun) {
  KvCache cache(8);
  const std::vector<BlockHash> chain = Chain(Tokens(48));
  std::vector<int32_t> first, second;
  cache.Acquire(chain, 3, 0, first);
  cache.Publish(first[0], chain[0]);
  cache.Publish(first[2], chain[2]);
  EXPECT_EQ(cache.Acquire(chain, 3, 0, second), 1);
}

TEST(KvCacheTest, ReleasedPagesStayFindable) {
  KvCache cache(4);
  const std::vector<BlockHash> chain = Chain(Tokens(32));
  std::vector<int32_t> pages;
  cache.Acquire(chain, 2, 0, pages);
  cache.Publish(pages[0], chain[0]);
  cache.Publish(pages[1], chain[1]);
  cache.Release(pages);
  EXPECT_EQ(cache.free_pages(), 4);
  EXPECT_EQ(cache.Acquire(chain, 2, 0, pages), 2);
}

TEST(KvCacheTest, EvictsTheLeastRecentlyUsedAndTailsFirst) {
  KvCache cache(4);
  const std::vector<BlockHash> old = Chain(Tokens(32)), young = Chain(Tokens(32, 1000));
  std::vector<int32_t> pages, none;
  for (const auto& chain : {old, young}) {
    cache.Acquire(chain, 2, 0, pages);
    cache.Publish(pages[0], chain[0]);
    cache.Publish(pages[1], chain[1]);
    cache.Release(pages);
  }
  ASSERT_EQ(cache.Acquire({}, 1, 0, none), 0);  // evicts the old chain's tail
  EXPECT_EQ(cache.Acquire(young, 2, 0, pages), 2);
  cache.Release(pages);
  EXPECT_EQ(cache.Acquire(old, 2, 0, pages), 1);
}

TEST(KvCacheTest, RefusesWithoutTakingAnything) {
  KvCache cache(4);
  const std::vector<BlockHash> chain = Chain(Tokens(16));
  std::vector<int32_t> held, pages;
  cache.Acquire(chain, 2, 0, held);
  cache.Publish(held[0], chain[0]);
  EXPECT_EQ(cache.Acquire(chain, 4, 0, pages), std::nullopt);  // 1 shared, 3 new, 2 free
  EXPECT_TRUE(pages.empty());
  EXPECT_EQ(cache.Acquire(chain, 3, 1, pages), std::nullopt);
  EXPECT_EQ(cache.Acquire(chain, 3, 0, pages), 1);
  EXPECT_FALSE(cache.Extend(pages));
}

TEST(KvCacheTest, CountsIdleSharedPagesAsTaken) {
  KvCache cache(2);
  const std::vector<BlockHash> chain = Chain(Tokens(16));
  std::vector<int32_t> pages;
  cache.Acquire(chain, 1, 0, pages);
  cache.Publish(pages[0], chain[0]);
  cache.Release(pages);
  EXPECT_EQ(cache.Acquire(chain, 3, 0, pages), std::nullopt);
  EXPECT_EQ(cache.Acquire(chain, 2, 0, pages), 1);
}

// Random operations against a plain model of the rules.
TEST(KvCacheTest, AgreesWithAModelUnderRandomUse) {
  std::mt19937 random(1);
  KvCache cache(24);
  struct Held {
    std::vector<int32_t> tokens, pages;
    std::vector<BlockHash> chain;
  };
  std::vector<Held> held;
  std::map<int32_t, int> owners;
  std::map<int32_t, BlockHash> written;  // the full block that a page's first owner put there
  for (int step = 0; step < 20000; ++step) {
    const int action = static_cast<int>(random() % 4);
    if (action == 0) {
      Held sequence;
      // Few distinct prefixes, so that sharing is common.
      sequence.tokens = Tokens(1 + random() % 90, static_cast<int32_t>(random() % 3) * 1000);
      sequence.chain = Chain(sequence.tokens);
      const int64_t count = PagesFor(static_cast<int64_t>(sequence.tokens.size()));
      const int64_t free_before = cache.free_pages();
      const auto shared = cache.Acquire(sequence.chain, count, 0, sequence.pages);
      if (!shared) {
        EXPECT_EQ(cache.free_pages(), free_before);
        EXPECT_GT(count, free_before);
        continue;
      }
      for (int64_t i = 0; i < count; ++i) {
        const int32_t page = sequence.pages[i];
        if (i < *shared) {
          EXPECT_EQ(written[page], sequence.chain[i]);
        } else {
          EXPECT_EQ(owners[page], 0);
          written[page] =
              i < static_cast<int64_t>(sequence.chain.size()) ? sequence.chain[i] : BlockHash{};
        }
        ++owners[page];
      }
      held.push_back(std::move(sequence));
    } else if (held.empty()) {
      continue;
    } else if (Held& sequence = held[random() % held.size()]; action == 1) {
      const size_t block = random() % (sequence.chain.size() + 1);
      if (block < sequence.chain.size()) {
        cache.Publish(sequence.pages[block], sequence.chain[block]);
      }
    } else if (action == 2) {
      if (cache.Extend(sequence.pages)) {
        EXPECT_EQ(owners[sequence.pages.back()]++, 0);
      } else {
        EXPECT_EQ(cache.free_pages(), 0);
      }
    } else {
      for (const int32_t page : sequence.pages) --owners[page];
      cache.Release(sequence.pages);
      std::swap(sequence, held.back());
      held.pop_back();
    }
    const int64_t owned = std::count_if(owners.begin(), owners.end(),
                                        [](const auto& entry) { return entry.second > 0; });
    ASSERT_EQ(cache.used_pages(), owned) << "after step " << step;
    ASSERT_EQ(cache.used_pages() + cache.free_pages(), 24);
  }
}

TEST(BlockChainTest, VariantsHaveChainsOfTheirOwn) {
  const BlockHash root{1, 2};
  EXPECT_EQ(VariantRoot(root, 0), root);
  EXPECT_FALSE(VariantRoot(root, 1) == root);
  EXPECT_FALSE(VariantRoot(root, 1) == VariantRoot(root, 2));
}

}  // namespace
}  // namespace switchyard::router
