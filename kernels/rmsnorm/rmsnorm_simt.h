#pragma once

// RMSNorm for GPUs: a block a vector.

#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct RmsNormKernel {
  static constexpr int kThreads = 128;
  struct Shared {
    float lanes[16];  // sums of squares
  };
  RmsNormArgs args;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 2; }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const {
    const float* const x = args.x + args.Offset(block, args.x_stride);
    if (phase == 0) {
      if (thread < 16) shared.lanes[thread] = LaneOfSquares(x, thread);
      return;
    }
    const float mean = JoinLanes(shared.lanes) / static_cast<float>(args.width);
    const float scale = Rsqrt(mean + args.epsilon);
    const int64_t y = args.Offset(block, args.y_stride);
    for (int64_t i = thread; i < args.width; i += kThreads) {
      StoreElement(x[i] * scale * args.weight[i], args.y, args.output_type, y + i);
    }
  }

  SWITCHYARD_SIMT float LaneOfSquares(const float* x, int lane) const {
    float sum = 0.0f;
    for (int64_t i = lane; i < args.width; i += 16) sum = Fma(x[i], x[i], sum);
    return sum;
  }
};

template <typename Launch>
void RmsNorm(const RmsNormArgs& args, Launch& launch) {
  launch(RmsNormKernel{args}, args.rows * args.heads);
}

}  // namespace switchyard::kernels::simt
