#include "gateway/prefix_index.h"

#include <xxhash.h>

#include <algorithm>

namespace switchyard::gateway {
namespace {

constexpr size_t kBlockTokens = 16;
constexpr size_t kMaxBlocks = 256;  // of one prompt

}  // namespace

std::vector<uint64_t> PrefixIndex::BlockHashes(std::span<const int32_t> prompt) {
  std::vector<uint64_t> hashes(std::min(prompt.size() / kBlockTokens, kMaxBlocks));
  uint64_t hash = 0;
  for (size_t block = 0; block < hashes.size(); ++block) {
    const auto tokens = prompt.subspan(block * kBlockTokens, kBlockTokens);
    hash = XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), hash);
    hashes[block] = hash;
  }
  return hashes;
}

void PrefixIndex::Record(const std::vector<uint64_t>& blocks, uint64_t worker) {
  for (uint64_t block : blocks) {
    Entry& entry = blocks_[block];
    if (entry.worker != 0) by_age_.erase(entry.age);
    by_age_.push_front(block);
    entry = {.worker = worker, .age = by_age_.begin()};
  }
  while (blocks_.size() > capacity_) {
    blocks_.erase(by_age_.back());
    by_age_.pop_back();
  }
}

uint64_t PrefixIndex::Find(const std::vector<uint64_t>& blocks,
                           const std::function<bool(uint64_t worker)>& usable) const {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const auto found = blocks_.find(*block);
    if (found != blocks_.end() && usable(found->second.worker)) return found->second.worker;
  }
  return 0;
}

}  // namespace switchyard::gateway
