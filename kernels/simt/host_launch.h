#pragma once

// The launcher for the CPU: runs a kernel's blocks (simt.h) on a thread pool, the threads of a
// block one after the other. It has no speed; it is what tests use in place of a GPU, and it makes
// what would go wrong there go wrong here. Kernels run only when somebody waits for them: who reads
// their results too early reads old ones, and memory that is freed too early is used after that.
// Half of the phases run from the last thread to the first: a kernel that reads what another thread
// of the phase writes gives wrong results.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/memory.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

class HostLaunch {
 public:
  // The pool must outlive it.
  explicit HostLaunch(ThreadPool& pool) : pool_(pool) {}

  // Launches run in order; the call does not wait for them.
  template <typename Kernel>
  void operator()(const Kernel& kernel, int64_t blocks) {
    static_assert(std::is_trivially_copyable_v<Kernel>);
    launches_.push_back([this, kernel, blocks] { Run(kernel, blocks); });
  }

  // A copy of an array of the host that kernels can read until Finish.
  template <typename T>
  const T* Stage(std::span<const T> values) {
    T* const copy = Scratch<T>(static_cast<int64_t>(values.size()));
    for (size_t i = 0; i < values.size(); ++i) copy[i] = values[i];
    return copy;
  }

  // Uninitialised memory for kernels, until Finish.
  template <typename T>
  T* Scratch(int64_t count) {
    memory_.emplace_back(static_cast<size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(memory_.back().data());
  }

  // Copies what kernels have written at `from` to the host; waits for them.
  template <typename T>
  void Fetch(const T* from, std::span<T> to) {
    Wait();
    for (size_t i = 0; i < to.size(); ++i) to[i] = from[i];
  }

  // Waits for everything launched; what is staged stays.
  void Wait() {
    for (const auto& launch : launches_) launch();
    launches_.clear();
  }

  // Waits for everything launched and takes staged and scratch memory back. What went wrong since
  // the last time.
  absl::Status Finish() {
    Wait();
    memory_.clear();
    return absl::OkStatus();
  }

  int64_t memory_bytes() const { return HostMemoryBytes(); }

 private:
  template <typename Kernel>
  void Run(const Kernel& kernel, int64_t blocks) {
    pool_.ParallelFor(blocks, [&](int64_t block, int) {
      typename Kernel::Shared shared;
      const int64_t phases = kernel.Phases(block);
      for (int64_t phase = 0; phase < phases; ++phase) {
        const bool backwards = (block + phase) % 2 == 0;
        for (int i = 0; i < Kernel::kThreads; ++i) {
          kernel.Run(phase, block, backwards ? Kernel::kThreads - 1 - i : i, shared);
        }
      }
    });
  }

  ThreadPool& pool_;
  std::vector<std::function<void()>> launches_;  // called and not yet run
  std::deque<DeviceVector<std::byte>> memory_;
};

}  // namespace switchyard::kernels
