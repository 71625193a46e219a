#pragma once

// The kernel of one product of the grouped GEMM: grouped_gemm_roles.h on a device. For nvcc only.

#include "kernels/expert_ffn/grouped_gemm_roles.h"

namespace switchyard::kernels::grouped {

template <Product product, int kWarpgroups>
__global__ void __launch_bounds__(ThreadsOfBlock(kWarpgroups), 1)
    RunProduct(const __grid_constant__ ProductArgs args) {
  extern __shared__ unsigned char memory[];
  const auto unaligned = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const uint32_t shared = (unaligned + kAtomBytes - 1) / kAtomBytes * kAtomBytes;
  if (threadIdx.x == 0) InitPipeline(args, shared, kWarpgroups);
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.x);
  const Place place = {.block = blockIdx.x, .blocks = gridDim.x, .thread = thread};
  RunThread<product, kWarpgroups>(args, shared, place, __shfl_sync(0xffffffffu, thread / 32, 0));
}

}  // namespace switchyard::kernels::grouped
