#pragma once

// The launcher for GPUs (kernels/simt/host_launch.h is the one for the CPU): puts kernels on one
// stream. For nvcc only. The first error stays until Finish returns it; nothing runs after it.

#include <cuda_runtime.h>

#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/stream.h"

namespace switchyard::kernels {

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) RunKernel(const Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  const int64_t phases = kernel.Phases(blockIdx.x);
  for (int64_t phase = 0; phase < phases; ++phase) {
    kernel.Run(phase, blockIdx.x, static_cast<int>(threadIdx.x), shared);
    __syncthreads();
  }
}

// Used by one thread at a time, which need not be the one that created it.
class CudaLaunch {
 public:
  static absl::StatusOr<CudaLaunch> Create(int ordinal) {
    if (const absl::Status status = CheckDevice(ordinal); !status.ok()) return status;
    if (const absl::Status status = FromCuda(cudaSetDevice(ordinal), "cudaSetDevice");
        !status.ok()) {
      return status;
    }
    size_t free = 0, total = 0;
    if (const absl::Status status = FromCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        !status.ok()) {
      return status;
    }
    auto stream = Stream::Create();
    if (!stream.ok()) return stream.status();
    return CudaLaunch(ordinal, static_cast<int64_t>(total), *std::move(stream));
  }

  template <typename Kernel>
  void operator()(const Kernel& kernel, int64_t blocks) {
    static_assert(std::is_trivially_copyable_v<Kernel>);
    if (blocks == 0 || !Ready()) return;
    RunKernel<<<static_cast<unsigned>(blocks), Kernel::kThreads, 0, stream_.get()>>>(kernel);
    status_.Update(CheckLaunch(__PRETTY_FUNCTION__));
  }

  // A copy of an array of the host that kernels can read until Finish.
  template <typename T>
  const T* Stage(std::span<const T> values) {
    if (values.empty() || !Ready()) return nullptr;
    // What was staged since the last wait may still be on its way.
    if (pinned_.taken() > kMostStaged) Wait();
    void* const page_locked = Take(pinned_, values.size_bytes());
    T* const copy = Scratch<T>(static_cast<int64_t>(values.size()));
    if (page_locked == nullptr || copy == nullptr) return nullptr;
    std::memcpy(page_locked, values.data(), values.size_bytes());
    status_.Update(FromCuda(cudaMemcpyAsync(copy, page_locked, values.size_bytes(),
                                            cudaMemcpyHostToDevice, stream_.get()),
                            "cudaMemcpyAsync to the device"));
    return copy;
  }

  // Uninitialised memory for kernels, until Finish.
  template <typename T>
  T* Scratch(int64_t count) {
    return Ready() ? static_cast<T*>(Take(device_, static_cast<size_t>(count) * sizeof(T)))
                   : nullptr;
  }

  // Copies what kernels have written at `from` to the host; waits for them.
  template <typename T>
  void Fetch(const T* from, std::span<T> to) {
    if (to.empty() || !Ready()) return;
    void* const page_locked = Take(pinned_, to.size_bytes());
    if (page_locked == nullptr) return;
    status_.Update(FromCuda(
        cudaMemcpyAsync(page_locked, from, to.size_bytes(), cudaMemcpyDeviceToHost, stream_.get()),
        "cudaMemcpyAsync to the host"));
    if (!status_.ok()) return;
    status_.Update(stream_.Synchronize());
    if (status_.ok()) std::memcpy(to.data(), page_locked, to.size_bytes());
    if (status_.ok()) status_.Update(pinned_.Reset());
  }

  // For what is not of these forms: `start` puts it on the stream and says whether it could.
  template <typename Start>
  void Do(const Start& start) {
    if (Ready()) status_.Update(start(stream_.get()));
  }

  // Waits for everything launched; what is staged stays where kernels read it.
  void Wait() {
    if (!Ready()) return;
    status_.Update(stream_.Synchronize());
    if (status_.ok()) status_.Update(pinned_.Reset());
  }

  // Waits for everything launched and takes staged and scratch memory back. What went wrong since
  // the last time.
  absl::Status Finish() {
    // After an error, too: kernels that were started before it still run.
    const absl::Status first = std::exchange(status_, absl::OkStatus());
    Wait();
    if (status_.ok()) status_.Update(device_.Reset());
    const absl::Status second = std::exchange(status_, absl::OkStatus());
    return first.ok() ? second : first;
  }

  int64_t memory_bytes() const { return memory_bytes_; }

 private:
  // Bytes staged without waiting.
  static constexpr size_t kMostStaged = size_t{64} << 20;

  CudaLaunch(int ordinal, int64_t memory_bytes, Stream stream)
      : ordinal_(ordinal), memory_bytes_(memory_bytes), stream_(std::move(stream)) {}

  // A thread's current device is its own.
  bool Ready() {
    if (status_.ok()) status_.Update(FromCuda(cudaSetDevice(ordinal_), "cudaSetDevice"));
    return status_.ok();
  }

  template <MemoryKind kind>
  void* Take(Arena<kind>& arena, size_t bytes) {
    absl::StatusOr<void*> piece = arena.Take(bytes);
    if (piece.ok()) return *piece;
    status_.Update(piece.status());
    return nullptr;
  }

  int ordinal_;
  int64_t memory_bytes_;
  Stream stream_;
  Arena<MemoryKind::kPinned> pinned_;
  Arena<MemoryKind::kDevice> device_;
  absl::Status status_;
};

}  // namespace switchyard::kernels
