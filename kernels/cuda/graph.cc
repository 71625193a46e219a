#include "kernels/cuda/graph.h"

#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {
namespace {

struct DestroyRecording {
  void operator()(cudaGraph_t recording) const { (void)cudaGraphDestroy(recording); }
};

}  // namespace

absl::StatusOr<Graph> Graph::Capture(const Stream& stream,
                                     absl::FunctionRef<absl::Status()> enqueue) {
  cudaError_t error = cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return FromCuda(error, "cudaStreamBeginCapture");
  const absl::Status enqueued = enqueue();
  // Also after an error, else the stream would stay in capture.
  cudaGraph_t captured = nullptr;
  error = cudaStreamEndCapture(stream.get(), &captured);
  const std::unique_ptr<CUgraph_st, DestroyRecording> recording(captured);
  if (!enqueued.ok()) {
    (void)cudaGetLastError();
    return enqueued;
  }
  if (error != cudaSuccess) return FromCuda(error, "cudaStreamEndCapture");
  cudaGraphExec_t graph = nullptr;
  error = cudaGraphInstantiate(&graph, recording.get());
  if (error != cudaSuccess) return FromCuda(error, "cudaGraphInstantiate");
  return Graph(graph);
}

absl::Status Graph::Launch(const Stream& stream) const {
  return FromCuda(cudaGraphLaunch(graph_.get(), stream.get()), "cudaGraphLaunch");
}

}  // namespace switchyard::kernels
