#pragma once

// Who owns which page of the KV cache. A page holds 16 positions of one sequence in all layers. A
// full page whose tokens, and all tokens before them, equal another sequence's may be shared: such
// pages are found by a chain of block hashes. Only full pages are shared and a full page is never
// written again, so nothing is ever copied. Pages that no sequence uses stay findable until their
// memory is needed, the least recently used first.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "kernels/attention/attention.h"

namespace switchyard::router {

inline constexpr int64_t kPagePositions = kernels::KvLayout::kPagePositions;

constexpr int64_t PagesFor(int64_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}

// Names a block of 16 tokens together with everything before it.
struct BlockHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const BlockHash&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const BlockHash& hash) {
    return H::combine(std::move(h), hash.low);
  }
};

// The start of every chain: pages are shared only between sequences with the same weights and
// numerics class. A secret `seed` keeps clients from constructing collisions.
BlockHash ChainRoot(uint64_t model_digest, uint64_t weights_version, std::string_view numerics,
                    uint64_t seed);

// The start of the chains of one variant of that: keys that were computed in another way. Variant
// 0 is the root itself.
BlockHash VariantRoot(const BlockHash& root, uint64_t variant);

// Appends to `chain` the hashes of the full blocks of `tokens` that it does not have yet.
void ExtendChain(const BlockHash& root, std::span<const int32_t> tokens,
                 std::vector<BlockHash>& chain);

// Not thread-safe.
class KvCache {
 public:
  explicit KvCache(int64_t pages);

  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t free_pages() const { return available_; }  // without an owner, cached ones included
  int64_t used_pages() const { return pages() - available_; }

  // Takes `count` pages for a sequence: shared ones for the longest cached run of leading blocks
  // whose hashes are `chain`, new ones for the rest. Returns how many are shared, or nothing (and
  // takes nothing) when fewer than `reserve` pages would be left free.
  std::optional<int64_t> Acquire(std::span<const BlockHash> chain, int64_t count, int64_t reserve,
                                 std::vector<int32_t>& pages);

  // Appends a page; false when none is free.
  bool Extend(std::vector<int32_t>& pages);

  // Makes a full page, owned by the caller and computed, findable. When another page is known by
  // that hash already, that one stays.
  void Publish(int32_t page, const BlockHash& hash);

  // Gives a sequence's pages back but for the first `kept`, and takes them off the list.
  void Release(std::vector<int32_t>& pages, int64_t kept = 0);

 private:
  static constexpr int32_t kNone = -1;

  struct Page {
    int32_t owners = 0;
    bool published = false;
    BlockHash hash;
    // In one of the two lists while it has no owner.
    int32_t previous = kNone;
    int32_t next = kNone;
  };
  struct List {
    int32_t first = kNone;
    int32_t last = kNone;
  };

  int32_t TakeFree();
  void AddOwner(int32_t page);
  void DropOwner(int32_t page);
  void Append(List& list, int32_t page);
  void Remove(List& list, int32_t page);

  std::vector<Page> pages_;
  List blank_;   // hold nothing of use
  List cached_;  // published, least recently used first
  int64_t available_;
  absl::flat_hash_map<BlockHash, int32_t> index_;
};

}  // namespace switchyard::router
