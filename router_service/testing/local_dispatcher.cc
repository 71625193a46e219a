#include "router_service/testing/local_dispatcher.h"

#include "services/base/status_macros.h"

namespace switchyard::router {

LocalDispatcher::LocalDispatcher(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                                 kernels::Device& device)
    : hidden_(spec.hidden), wire_(kernels::WireType(numerics)), device_(device) {}

absl::StatusOr<std::unique_ptr<LocalDispatcher>> LocalDispatcher::Load(
    const model::Checkpoint& checkpoint, kernels::NumericsClass numerics, kernels::Device& device) {
  const model::ModelSpec& spec = checkpoint.spec();
  std::unique_ptr<LocalDispatcher> dispatcher(new LocalDispatcher(spec, numerics, device));
  for (int64_t layer = 0; layer < spec.Blocks(); ++layer) {
    const auto& router = spec.Block(layer).ffn.router;
    dispatcher->experts_.emplace_back();
    dispatcher->top_k_.push_back(router ? router->top_k : 0);
    for (int64_t expert = 0; expert < (router ? router->experts : 0); ++expert) {
      ASSIGN_OR_RETURN(kernels::ExpertWeights weights,
                       model::LoadExpert(checkpoint, layer, expert, numerics, device.pool()));
      dispatcher->experts_.back().push_back(std::move(weights));
    }
  }
  return dispatcher;
}

void LocalDispatcher::Begin(const DispatchRequest& request) {
  const int64_t assignments = request.rows * top_k_[request.layer];
  const int64_t row_bytes = hidden_ * static_cast<int64_t>(kernels::SizeOf(wire_));
  Slot& slot = slots_[request.micro_batch];
  slot.output.Reserve(assignments * row_bytes);
  slot.results.assign(assignments, nullptr);
  rows_.clear();
  groups_.clear();
  const std::vector<kernels::ExpertWeights>& experts = experts_[request.layer];
  for (size_t expert = 0; expert < experts.size(); ++expert) {
    const int64_t begin = static_cast<int64_t>(rows_.size());
    for (int64_t i = 0; i < assignments; ++i) {
      if (request.experts[i] != static_cast<int32_t>(expert)) continue;
      char* const output = slot.output.As<char>() + i * row_bytes;
      slot.results[i] = output;
      rows_.push_back({.input = request.activations + i / top_k_[request.layer] * row_bytes,
                       .output = output,
                       .gate_weight = request.weights[i]});
    }
    const int64_t end = static_cast<int64_t>(rows_.size());
    if (end > begin) groups_.push_back({.weights = &experts[expert], .begin = begin, .end = end});
  }
  device_.ExpertFfn({.rows = rows_, .groups = groups_, .output_type = wire_, .rows_on_host = true},
                    workspace_);
}

bool LocalDispatcher::Finished(uint32_t, absl::Status* status) {
  *status = absl::OkStatus();
  return true;
}

DispatchResult LocalDispatcher::Result(uint32_t micro_batch) { return slots_[micro_batch].results; }

void LocalDispatcher::Abandon(uint32_t) {}

void LocalDispatcher::Wait(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  woken_.wait_until(lock, deadline, [this] { return wake_; });
  wake_ = false;
}

void LocalDispatcher::Wake() {
  std::lock_guard lock(mutex_);
  wake_ = true;
  woken_.notify_one();
}

}  // namespace switchyard::router
