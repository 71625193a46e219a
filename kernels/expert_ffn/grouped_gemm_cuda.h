#pragma once

// The products of the grouped GEMM (grouped_gemm.h) on Hopper's tensor cores.

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/expert_ffn/grouped_gemm_plan.h"
#include "kernels/expert_ffn/grouped_gemm_product.h"

namespace switchyard::kernels::grouped {

// Of one device. Used by one thread at a time. `Launch` is CudaLaunch, which keeps the first error.
class TensorCoreProducts {
 public:
  // The device must be the thread's current one.
  static absl::StatusOr<TensorCoreProducts> Create(int ordinal);

  int multiprocessors() const { return multiprocessors_; }

  template <typename Launch>
  WeightMap Map(const void* first, int64_t lines, Launch& launch) {
    WeightMap map{};
    launch.Do([&](cudaStream_t) { return Find(first, lines, map); });
    return map;
  }

  template <typename Launch>
  void Run(Product product, const ProductPlan& plan, const ProductArgs& args, Launch& launch) {
    launch.Do([&](cudaStream_t stream) { return Start(product, plan, args, stream); });
  }

 private:
  explicit TensorCoreProducts(int multiprocessors) : multiprocessors_(multiprocessors) {}

  absl::Status Find(const void* first, int64_t lines, WeightMap& map);
  static absl::Status Start(Product product, const ProductPlan& plan, const ProductArgs& args,
                            cudaStream_t stream);

  int multiprocessors_;
  // A map says nothing but where lines are and how many, so those of freed weights may stay.
  std::map<std::pair<const void*, int64_t>, WeightMap> maps_;
};

}  // namespace switchyard::kernels::grouped
