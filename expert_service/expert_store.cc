#include "expert_service/expert_store.h"

#include <utility>

namespace switchyard::expert {

std::shared_ptr<const Experts> ExpertStore::Snapshot() const {
  std::lock_guard lock(mutex_);
  return experts_;
}

void ExpertStore::Insert(Experts loaded) {
  std::shared_ptr<const Experts> previous;  // released after the lock: freeing experts takes time
  std::lock_guard lock(mutex_);
  loaded.insert(experts_->begin(), experts_->end());  // keeps the new ones where both have an id
  previous = std::exchange(experts_, std::make_shared<const Experts>(std::move(loaded)));
}

void ExpertStore::Erase(std::span<const ExpertId> ids) {
  std::shared_ptr<const Experts> previous;
  std::lock_guard lock(mutex_);
  Experts remaining = *experts_;
  for (const ExpertId& id : ids) remaining.erase(id);
  previous = std::exchange(experts_, std::make_shared<const Experts>(std::move(remaining)));
}

}  // namespace switchyard::expert
