#pragma once

// Work of a stream, recorded once and launched many times as one: a launch costs the host a few
// microseconds in all instead of some for each kernel.

#include <cuda_runtime.h>

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"

namespace switchyard::kernels {

// Launches use the addresses that were captured, which must stay valid. Move-only; used by one
// thread at a time, and launches of one graph run one after the other.
class Graph {
 public:
  // Records what `enqueue` puts on `stream` (and on streams that it makes wait for it and be waited
  // for) without running it. Meanwhile the thread must not allocate or synchronise. An error of
  // `enqueue` is returned as it is.
  static absl::StatusOr<Graph> Capture(const Stream& stream,
                                       absl::FunctionRef<absl::Status()> enqueue);

  absl::Status Launch(const Stream& stream) const;

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { (void)cudaGraphExecDestroy(graph); }
  };

  explicit Graph(cudaGraphExec_t graph) : graph_(graph) {}

  std::unique_ptr<CUgraphExec_st, Destroy> graph_;
};

}  // namespace switchyard::kernels
