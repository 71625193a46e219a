#include "expert_service/expert_loader.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace switchyard::expert {
namespace {

// The store copies its map on every insertion, so experts go in by groups.
constexpr size_t kExpertsPerInsertion = 16;

}  // namespace

ExpertLoader::ExpertLoader(const model::Checkpoint& checkpoint, kernels::NumericsClass numerics,
                           ExpertStore& store, std::function<bool()> busy)
    : checkpoint_(checkpoint), numerics_(numerics), store_(store), busy_(std::move(busy)) {}

absl::Status ExpertLoader::Load(std::span<const ExpertId> ids, TimePoint deadline,
                                const std::function<bool()>& cancelled) {
  std::lock_guard lock(mutex_);
  const std::shared_ptr<const Experts> held = store_.Snapshot();
  Experts loaded;
  absl::Status status;
  for (const ExpertId& id : ids) {
    if (held->contains(id)) continue;
    const TimePoint begin = Clock::Real().Now();
    if (begin >= deadline || cancelled()) {
      status = absl::Status(
          begin >= deadline ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kCancelled,
          absl::StrCat("loading stopped before layer ", id.layer, ", expert ", id.expert));
      break;
    }
    auto weights = model::LoadExpert(checkpoint_, id.layer, id.expert, numerics_, thread_);
    if (!weights.ok()) {
      status = weights.status();
      break;
    }
    loaded[id] = std::make_shared<const kernels::ExpertWeights>(*std::move(weights));
    if (loaded.size() == kExpertsPerInsertion) store_.Insert(std::exchange(loaded, {}));
    if (busy_()) std::this_thread::sleep_for(Clock::Real().Now() - begin);
  }
  if (!loaded.empty()) store_.Insert(std::move(loaded));
  return status;
}

}  // namespace switchyard::expert
