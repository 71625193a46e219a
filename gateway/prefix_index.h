#pragma once

// Which worker holds the KV cache of which prompt beginnings, as far as this gateway sent them
// there.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace switchyard::gateway {

// Forgets what was used longest ago. Not thread-safe.
class PrefixIndex {
 public:
  // `capacity` in blocks.
  explicit PrefixIndex(size_t capacity) : capacity_(capacity) {}

  // Chained hashes of the prompt's first whole blocks: equal hashes mean an equal beginning.
  static std::vector<uint64_t> BlockHashes(std::span<const int32_t> prompt);

  void Record(const std::vector<uint64_t>& blocks, uint64_t worker);

  // The worker that holds the longest beginning among those that `usable` accepts; 0 if none does.
  uint64_t Find(const std::vector<uint64_t>& blocks,
                const std::function<bool(uint64_t worker)>& usable) const;

 private:
  struct Entry {
    uint64_t worker = 0;
    std::list<uint64_t>::iterator age;
  };

  const size_t capacity_;
  std::list<uint64_t> by_age_;  // newest first
  std::unordered_map<uint64_t, Entry> blocks_;
};

}  // namespace switchyard::gateway
