#pragma once

// LayerNorm for GPUs: a block a row.

#include "kernels/layernorm/layernorm.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct LayerNormKernel {
  static constexpr int kThreads = 128;
  struct Shared {
    float sums[16];
    float squares[16];  // of what is left without the mean
  };
  LayerNormArgs args;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 3; }

  SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const {
    const float* const x = args.x + block * args.width;
    if (phase == 0) {
      if (thread < 16) shared.sums[thread] = Lane(x, thread);
      return;
    }
    const float mean = JoinLanes(shared.sums) / static_cast<float>(args.width);
    if (phase == 1) {
      if (thread < 16) shared.squares[thread] = LaneOfSquares(x, mean, thread);
      return;
    }
    const float variance = JoinLanes(shared.squares) / static_cast<float>(args.width);
    const float scale = Rsqrt(variance + args.epsilon);
    for (int64_t i = thread; i < args.width; i += kThreads) {
      const float value = (x[i] - mean) * scale * args.weight[i] + args.bias[i];
      StoreElement(value, args.y, args.output_type, block * args.width + i);
    }
  }

  SWITCHYARD_SIMT float Lane(const float* x, int lane) const {
    float sum = 0.0f;
    for (int64_t i = lane; i < args.width; i += 16) sum = sum + x[i];
    return sum;
  }

  SWITCHYARD_SIMT float LaneOfSquares(const float* x, float mean, int lane) const {
    float sum = 0.0f;
    for (int64_t i = lane; i < args.width; i += 16) sum = Fma(x[i] - mean, x[i] - mean, sum);
    return sum;
  }
};

template <typename Launch>
void LayerNorm(const LayerNormArgs& args, Launch& launch) {
  launch(LayerNormKernel{args}, args.rows);
}

}  // namespace switchyard::kernels::simt
