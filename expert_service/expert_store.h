#pragma once

// The experts that this host holds. A batch works on one snapshot from beginning to end, so an
// expert can be loaded or unloaded while it computes. Thread-safe.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "kernels/expert_ffn/expert_ffn.h"

namespace switchyard::expert {

struct ExpertId {
  uint32_t layer = 0;
  uint32_t expert = 0;
  auto operator<=>(const ExpertId&) const = default;
};

using Experts = std::map<ExpertId, std::shared_ptr<const kernels::ExpertWeights>>;

class ExpertStore {
 public:
  // What is held now; never changes after it is returned.
  std::shared_ptr<const Experts> Snapshot() const;

  // Adds or replaces; the caller brings many at once where it can, since each call copies the map.
  void Insert(Experts loaded);
  void Erase(std::span<const ExpertId> ids);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Experts> experts_ = std::make_shared<const Experts>();
};

}  // namespace switchyard::expert
