#include "router_service/kv_cache.h"

#include <xxhash.h>

#include <array>
#include <utility>

#include "services/base/check.h"

namespace switchyard::router {
namespace {

BlockHash Hash(const void* data, size_t size) {
  const XXH128_hash_t hash = XXH3_128bits(data, size);
  return {.low = hash.low64, .high = hash.high64};
}

}  // namespace

BlockHash ChainRoot(uint64_t model_digest, uint64_t weights_version, std::string_view numerics,
                    uint64_t seed) {
  const std::array<uint64_t, 4> key = {model_digest, weights_version,
                                       XXH3_64bits(numerics.data(), numerics.size()), seed};
  return Hash(key.data(), sizeof(key));
}

BlockHash VariantRoot(const BlockHash& root, uint64_t variant) {
  if (variant == 0) return root;
  const std::array<uint64_t, 3> key = {root.low, root.high, variant};
  return Hash(key.data(), sizeof(key));
}

void ExtendChain(const BlockHash& root, std::span<const int32_t> tokens,
                 std::vector<BlockHash>& chain) {
  struct Block {
    BlockHash before;
    std::array<int32_t, kPagePositions> tokens;
  } block;
  static_assert(sizeof(Block) == sizeof(BlockHash) + kPagePositions * sizeof(int32_t));
  for (size_t begin = chain.size() * kPagePositions; begin + kPagePositions <= tokens.size();
       begin += kPagePositions) {
    block.before = chain.empty() ? root : chain.back();
    std::copy_n(tokens.begin() + begin, kPagePositions, block.tokens.begin());
    chain.push_back(Hash(&block, sizeof(block)));
  }
}

KvCache::KvCache(int64_t pages) : pages_(pages), available_(pages) {
  for (int32_t page = 0; page < pages; ++page) Append(blank_, page);
  index_.reserve(pages);
}

std::optional<int64_t> KvCache::Acquire(std::span<const BlockHash> chain, int64_t count,
                                        int64_t reserve, std::vector<int32_t>& pages) {
  CHECK(pages.empty()) << "a sequence acquires its pages once";
  int64_t idle = 0;  // shared pages that only the cache holds: taking them uses up free pages
  for (const BlockHash& hash : chain) {
    const auto found = index_.find(hash);
    if (found == index_.end() || static_cast<int64_t>(pages.size()) == count) break;
    pages.push_back(found->second);
    if (pages_[found->second].owners == 0) ++idle;
  }
  const int64_t shared = static_cast<int64_t>(pages.size());
  if (idle + (count - shared) + reserve > available_) {
    pages.clear();
    return std::nullopt;
  }
  for (const int32_t page : pages) AddOwner(page);
  while (static_cast<int64_t>(pages.size()) < count) pages.push_back(TakeFree());
  return shared;
}

bool KvCache::Extend(std::vector<int32_t>& pages) {
  if (available_ == 0) return false;
  pages.push_back(TakeFree());
  return true;
}

void KvCache::Publish(int32_t page, const BlockHash& hash) {
  CHECK(pages_[page].owners > 0) << "page " << page << " is published without an owner";
  if (pages_[page].published || !index_.try_emplace(hash, page).second) return;
  pages_[page].published = true;
  pages_[page].hash = hash;
}

void KvCache::Release(std::vector<int32_t>& pages, int64_t kept) {
  // From the end, so that a chain's later blocks, useless without the earlier ones, are evicted
  // before them.
  for (; std::ssize(pages) > kept; pages.pop_back()) DropOwner(pages.back());
}

int32_t KvCache::TakeFree() {
  const int32_t page = blank_.first != kNone ? blank_.first : cached_.first;
  CHECK(page != kNone) << "no free page";
  AddOwner(page);
  if (pages_[page].published) {
    index_.erase(pages_[page].hash);
    pages_[page].published = false;
  }
  return page;
}

void KvCache::AddOwner(int32_t page) {
  if (pages_[page].owners++ > 0) return;
  Remove(pages_[page].published ? cached_ : blank_, page);
  --available_;
}

void KvCache::DropOwner(int32_t page) {
  CHECK(pages_[page].owners > 0) << "page " << page << " is released twice";
  if (--pages_[page].owners > 0) return;
  Append(pages_[page].published ? cached_ : blank_, page);
  ++available_;
}

void KvCache::Append(List& list, int32_t page) {
  pages_[page].previous = list.last;
  pages_[page].next = kNone;
  (list.last == kNone ? list.first : pages_[list.last].next) = page;
  list.last = page;
}

void KvCache::Remove(List& list, int32_t page) {
  const auto [previous, next] = std::pair(pages_[page].previous, pages_[page].next);
  (previous == kNone ? list.first : pages_[previous].next) = next;
  (next == kNone ? list.last : pages_[next].previous) = previous;
}

}  // namespace switchyard::router
