#pragma once

// Absolute positions for GPUs: a block a row.

#include <span>

#include "kernels/positions/positions.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct AddPositionsKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  AddPositionsArgs args;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t from = args.positions[block] * args.width;
    float* const output = args.output + block * args.width;
    for (int64_t i = thread; i < args.width; i += kThreads) {
      output[i] = output[i] + LoadElement(args.table, args.type, from + i);
    }
  }
};

template <typename Launch>
void AddPositions(AddPositionsArgs args, Launch& launch) {
  args.positions = launch.Stage(std::span(args.positions, static_cast<size_t>(args.rows)));
  launch(AddPositionsKernel{args}, args.rows);
}

}  // namespace switchyard::kernels::simt
