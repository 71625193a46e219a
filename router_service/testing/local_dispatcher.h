#pragma once

// Computes the experts of a layer at once, in the calling thread and its device, from weights that
// it loaded itself: the exact reference of every other way to compute them.

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/base/numerics.h"
#include "kernels/device/device.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "router_service/expert_dispatcher.h"
#include "services/model/checkpoint.h"

namespace switchyard::router {

// The device must outlive it.
class LocalDispatcher : public ExpertDispatcher {
 public:
  // Loads all experts of all layers.
  static absl::StatusOr<std::unique_ptr<LocalDispatcher>> Load(const model::Checkpoint& checkpoint,
                                                               kernels::NumericsClass numerics,
                                                               kernels::Device& device);

  void Begin(const DispatchRequest& request) override;
  bool Finished(uint32_t micro_batch, absl::Status* status) override;
  DispatchResult Result(uint32_t micro_batch) override;
  void Abandon(uint32_t micro_batch) override;
  void Wait(TimePoint deadline) override;
  void Poll() override {}
  void Wake() override;

 private:
  struct Slot {
    kernels::Buffer output;
    std::vector<const void*> results;
  };

  LocalDispatcher(const model::ModelSpec& spec, kernels::NumericsClass numerics,
                  kernels::Device& device);

  const int64_t hidden_;
  const kernels::DType wire_;
  kernels::Device& device_;
  std::vector<std::vector<kernels::ExpertWeights>> experts_;  // [layer][expert]
  std::vector<int64_t> top_k_;                                // [layer]
  std::array<Slot, kMicroBatches> slots_;
  kernels::ExpertWorkspace workspace_;
  std::vector<kernels::ExpertRow> rows_;
  std::vector<kernels::ExpertGroup> groups_;

  std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;
};

}  // namespace switchyard::router
