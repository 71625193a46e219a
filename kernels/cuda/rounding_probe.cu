#include <cmath>

#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/rounding_probe.h"

namespace switchyard::kernels {
namespace {

__global__ void Probe(const float* a, const float* b, const float* c, int64_t count, Rounded* out) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  out[i] = {
      .multiply_add = a[i] * b[i] + c[i],
      .fma = std::fma(a[i], b[i], c[i]),
      .quotient = a[i] / b[i],
      .root = std::sqrt(std::fabs(a[i])),
  };
}

}  // namespace

absl::Status ProbeRounding(const float* a, const float* b, const float* c, int64_t count,
                           Rounded* out) {
  constexpr int kThreads = 128;
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  Probe<<<blocks, kThreads>>>(a, b, c, count, out);
  if (absl::Status launched = CheckLaunch("Probe"); !launched.ok()) return launched;
  return FromCuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

}  // namespace switchyard::kernels
