#pragma once

// Token embedding for GPUs: a block a row.

#include <span>

#include "kernels/embedding/embedding.h"
#include "kernels/simt/math.h"

namespace switchyard::kernels::simt {

struct EmbeddingKernel {
  static constexpr int kThreads = 128;
  struct Shared {};
  EmbeddingArgs args;

  SWITCHYARD_SIMT int64_t Phases(int64_t) const { return 1; }

  SWITCHYARD_SIMT void Run(int64_t, int64_t block, int thread, Shared&) const {
    const int64_t from = static_cast<int64_t>(args.ids[block]) * args.width;
    float* const output = args.output + block * args.width;
    for (int64_t i = thread; i < args.width; i += kThreads) {
      output[i] = LoadElement(args.table, args.type, from + i);
    }
  }
};

template <typename Launch>
void Embedding(EmbeddingArgs args, Launch& launch) {
  args.ids = launch.Stage(std::span(args.ids, static_cast<size_t>(args.rows)));
  launch(EmbeddingKernel{args}, args.rows);
}

}  // namespace switchyard::kernels::simt
