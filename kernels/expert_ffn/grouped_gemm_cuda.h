#pragma once

// The expert FFN (expert_ffn.h) in class bf16-sm90: two products on Hopper's tensor cores, over all
// experts of a batch at once. bf16 operands, fp32 sums; the order of a sum inside an instruction is
// the hardware's, across instructions it is ascending in k, whatever the batch. docs/gpu.md.

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/memory.h"
#include "kernels/expert_ffn/expert_ffn.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_product.h"
#include "kernels/expert_ffn/grouped_gemm_source.h"

namespace switchyard::kernels {

// An expert's packed weights in the memory of one device. Move-only; shared by any number of
// threads; must outlive the work that uses it.
class GroupedExpert {
 public:
  // Packs on the calling thread and copies to its current device; waits. The source may go then.
  static absl::StatusOr<GroupedExpert> Create(const grouped::ExpertSource& source);

  const grouped::ExpertShape& shape() const { return shape_; }
  const grouped::ExpertView& view() const { return view_; }
  size_t bytes() const { return first_.size() + down_.size() + biases_.size(); }

 private:
  GroupedExpert() = default;

  grouped::ExpertShape shape_{};
  DeviceMemory first_, down_, biases_;
  grouped::ExpertView view_{};
};

// Rows [begin, end) of the batch go to `expert`.
struct GroupedExpertGroup {
  const GroupedExpert* expert;
  int64_t begin;
  int64_t end;
};

// Groups share their shape; their rows do not overlap, and there are fewer than 2^31 rows. Rows'
// inputs are bf16; inputs and outputs lie anywhere in memory that the device reaches, aligned to 16
// bytes.
struct GroupedExpertBatch {
  std::span<const ExpertRow> rows;
  std::span<const GroupedExpertGroup> groups;
  DType output_type = DType::kBfloat16;
  // h: grouped::RowStride(intermediate) elements for each row, memory of the device, aligned to 16
  // bytes.
  uint16_t* activations = nullptr;
};

// A batch as kernels see it, on the device until Finish.
struct PreparedExperts {
  grouped::ProductArgs first, down;
  grouped::ProductPlan first_plan, down_plan;
};

// One stream of one device. Used by one thread at a time.
class GroupedExpertFfn {
 public:
  static absl::StatusOr<GroupedExpertFfn> Create(int ordinal);
  GroupedExpertFfn(GroupedExpertFfn&&) noexcept;
  GroupedExpertFfn& operator=(GroupedExpertFfn&&) noexcept;
  ~GroupedExpertFfn();

  // Copies the lists of rows, groups and experts to the device; does not wait.
  absl::StatusOr<PreparedExperts> Prepare(const GroupedExpertBatch& batch);
  // Puts the two products on the stream; any number of times, also into a captured graph.
  absl::Status Launch(const PreparedExperts& prepared);
  // Both, once.
  absl::Status Run(const GroupedExpertBatch& batch);
  // Waits for all of it. What was prepared is gone.
  absl::Status Finish();

  cudaStream_t stream() const;

 private:
  struct State;
  explicit GroupedExpertFfn(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::kernels
