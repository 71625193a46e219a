#pragma once

// Rotary position embedding for GPUs: a block a row, a thread a pair of every head.

#include <span>

#include "kernels/rope/rope.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct RopeKernel {
  static constexpr int kThreads = 64;
  struct Shared {};
  RopeArgs args;  // its table is the host's; what is needed of it follows
  const float* inverse_frequency = nullptr;
  int64_t half = 0;
  float attention_factor = 1.0f;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const float position = static_cast<float>(args.positions[block]);
    for (int64_t i = thread; i < half; i += kThreads) {
      float sine, cosine;
      SinCos(position * inverse_frequency[i], &sine, &cosine);
      sine = sine * attention_factor;
      cosine = cosine * attention_factor;
      const int64_t a = args.interleaved ? 2 * i : i;
      const int64_t b = args.interleaved ? 2 * i + 1 : i + half;
      for (int64_t head = 0; head < args.heads; ++head) {
        float* const x = args.x + block * args.row_stride + head * args.head_dim;
        const float first = x[a], second = x[b];
        x[a] = first * cosine - second * sine;
        x[b] = second * cosine + first * sine;
      }
    }
  }
};

template <typename Launch>
void Rope(RopeArgs args, Launch& launch) {
  const RopeTable& table = *args.table;
  args.positions = launch.Stage(std::span(args.positions, static_cast<size_t>(args.rows)));
  args.table = nullptr;
  launch(RopeKernel{.args = args,
                    .inverse_frequency = launch.Stage(std::span(table.inverse_frequency)),
                    .half = static_cast<int64_t>(table.inverse_frequency.size()),
                    .attention_factor = table.attention_factor},
         args.rows);
}

}  // namespace switchyard::kernels::simt
