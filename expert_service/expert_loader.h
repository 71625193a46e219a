#pragma once

// Brings experts from the checkpoint into the store. Loading beside live traffic is limited: it
// uses one thread of its own, and pauses for as long as it worked while the host is busy.

#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "expert_service/expert_store.h"
#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"
#include "services/base/clock.h"
#include "services/model/checkpoint.h"

namespace switchyard::expert {

class ExpertLoader {
 public:
  // All outlive the loader. `busy` tells whether the host computes for someone right now.
  ExpertLoader(const model::Checkpoint& checkpoint, kernels::NumericsClass numerics,
               ExpertStore& store, std::function<bool()> busy);

  // Loads what is not held yet; what was loaded stays when a later one fails, the deadline passes
  // (DEADLINE_EXCEEDED) or `cancelled`, asked before each, says so (CANCELLED). Calls take turns.
  // Any thread.
  absl::Status Load(std::span<const ExpertId> ids, TimePoint deadline,
                    const std::function<bool()>& cancelled);

 private:
  const model::Checkpoint& checkpoint_;
  const kernels::NumericsClass numerics_;
  ExpertStore& store_;
  const std::function<bool()> busy_;
  std::mutex mutex_;
  kernels::ThreadPool thread_{1};
};

}  // namespace switchyard::expert
