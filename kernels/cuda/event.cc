#include "kernels/cuda/event.h"

#include "kernels/cuda/cuda_status.h"

namespace switchyard::kernels {

absl::StatusOr<Event> Event::Create() {
  cudaEvent_t event = nullptr;
  const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (error != cudaSuccess) return FromCuda(error, "cudaEventCreateWithFlags");
  return Event(event);
}

absl::Status Event::Record(const Stream& stream) const {
  return FromCuda(cudaEventRecord(event_.get(), stream.get()), "cudaEventRecord");
}

absl::Status Event::MakeWait(const Stream& stream) const {
  return FromCuda(cudaStreamWaitEvent(stream.get(), event_.get()), "cudaStreamWaitEvent");
}

absl::StatusOr<bool> Event::Reached() const {
  const cudaError_t error = cudaEventQuery(event_.get());
  if (error == cudaSuccess) return true;
  if (error == cudaErrorNotReady) {
    (void)cudaGetLastError();  // no error, but recorded as one
    return false;
  }
  return FromCuda(error, "cudaEventQuery");
}

absl::Status Event::Synchronize() const {
  return FromCuda(cudaEventSynchronize(event_.get()), "cudaEventSynchronize");
}

}  // namespace switchyard::kernels
