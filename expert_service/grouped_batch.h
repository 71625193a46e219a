#pragma once

// Turns the dispatches of one batch, whatever their router worker, micro-batch or layer, into one
// grouped FFN call: all rows of an expert together, so its weights are read once. Rows are read
// from the received frames and written into the reply slots in place.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "expert_service/batch_queue.h"
#include "expert_service/expert_store.h"
#include "kernels/base/numerics.h"
#include "kernels/expert_ffn/expert_ffn.h"

namespace switchyard::expert {

// Reused from batch to batch; allocates only while it grows.
class GroupedBatch {
 public:
  // Every dispatch has been checked and has its reply slot. Returns the indexes of dispatches that
  // name an expert which is not held; none of their rows are in the batch.
  std::span<const size_t> Build(std::span<const WaitingDispatch> dispatches,
                                std::shared_ptr<const Experts> experts, kernels::DType wire_type);

  // Lets go of the weights once the batch is computed: experts that are unloaded meanwhile would
  // otherwise stay in memory until the next batch.
  void ReleaseExperts() { experts_.reset(); }

  kernels::ExpertBatch batch() const {
    return {.rows = rows_, .groups = groups_, .output_type = wire_type_, .rows_on_host = true};
  }

  // Rows of each expert in the batch, ascending by expert.
  struct Load {
    ExpertId id;
    uint64_t rows;
  };
  std::span<const Load> loads() const { return loads_; }

 private:
  struct Entry {
    ExpertId id;
    kernels::ExpertRow row;
  };

  bool Owns(const WaitingDispatch& dispatch) const;
  void Append(const WaitingDispatch& dispatch);

  kernels::DType wire_type_ = kernels::DType::kFloat32;
  std::vector<Entry> entries_;
  std::vector<kernels::ExpertRow> rows_;
  std::vector<kernels::ExpertGroup> groups_;
  std::vector<Load> loads_;
  std::vector<size_t> refused_;
  std::shared_ptr<const Experts> experts_;  // keeps the weights alive while the batch runs
};

}  // namespace switchyard::expert
