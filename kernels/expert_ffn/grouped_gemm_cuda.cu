#include <cuda.h>

#include <cstring>

#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/expert_ffn/grouped_gemm_cuda.h"
#include "kernels/expert_ffn/grouped_gemm_kernel.h"

namespace switchyard::kernels::grouped {
namespace {

static_assert(sizeof(WeightMap) == sizeof(CUtensorMap));

using Kernel = void (*)(ProductArgs);

Kernel KernelOf(Product product, int warpgroups) {
  if (product == Product::kFirst) {
    return warpgroups == 2 ? RunProduct<Product::kFirst, 2> : RunProduct<Product::kFirst, 1>;
  }
  return warpgroups == 2 ? RunProduct<Product::kDown, 2> : RunProduct<Product::kDown, 1>;
}

// Kernels may have more shared memory than the 48 KiB that need no permission.
absl::Status AllowSharedMemory() {
  for (const Product product : {Product::kFirst, Product::kDown}) {
    for (const int warpgroups : {1, 2}) {
      const cudaError_t error =
          cudaFuncSetAttribute(reinterpret_cast<const void*>(KernelOf(product, warpgroups)),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBudget);
      if (error != cudaSuccess) return FromCuda(error, "cudaFuncSetAttribute");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorCoreProducts> TensorCoreProducts::Create(int ordinal) {
  int multiprocessors = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, ordinal);
  if (error != cudaSuccess) return FromCuda(error, "cudaDeviceGetAttribute");
  if (absl::Status status = AllowSharedMemory(); !status.ok()) return status;
  return TensorCoreProducts(multiprocessors);
}

absl::Status TensorCoreProducts::Find(const void* first, int64_t lines, WeightMap& map) {
  const auto known = maps_.find({first, lines});
  if (known != maps_.end()) {
    map = known->second;
    return absl::OkStatus();
  }
  const absl::StatusOr<CUtensorMap> encoded =
      EncodeTensorMap({const_cast<void*>(first), lines, kInstructionRows});
  if (!encoded.ok()) return encoded.status();
  std::memcpy(&map, &*encoded, sizeof(map));
  maps_[{first, lines}] = map;
  return absl::OkStatus();
}

absl::Status TensorCoreProducts::Start(Product product, const ProductPlan& plan,
                                       const ProductArgs& args, cudaStream_t stream) {
  if (plan.tiles == 0) return absl::OkStatus();
  const int warpgroups = plan.shared.warpgroups;
  KernelOf(product, warpgroups)<<<static_cast<unsigned>(plan.grid), ThreadsOfBlock(warpgroups),
                                  plan.shared.bytes(), stream>>>(args);
  return CheckLaunch(product == Product::kFirst ? "the first product of experts"
                                                : "a product on tensor cores");
}

}  // namespace switchyard::kernels::grouped
