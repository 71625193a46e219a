#pragma once

// The launcher for the CPU: runs a kernel's blocks (simt.h) on a thread pool, the threads of a
// block one after the other. It has no speed; it is what tests use in place of a GPU. Half of the
// phases run from the last thread to the first: a kernel that reads what another thread of the
// phase writes gives wrong results.

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

class HostLaunch {
 public:
  // The pool must outlive it.
  explicit HostLaunch(ThreadPool& pool) : pool_(pool) {}

  // Runs the kernel. On a GPU launches run in order and the call does not wait for them.
  template <typename Kernel>
  void operator()(const Kernel& kernel, int64_t blocks) {
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
    memory_.emplace_back(static_cast<size_t>(count) * sizeof(T) / sizeof(uint64_t) + 1);
    return reinterpret_cast<T*>(memory_.back().data());
  }

  // Copies what kernels have written at `from` to the host; waits for them.
  template <typename T>
  void Fetch(const T* from, std::span<T> to) {
    for (size_t i = 0; i < to.size(); ++i) to[i] = from[i];
  }

  // Waits for everything launched.
  absl::Status Finish() {
    memory_.clear();
    return absl::OkStatus();
  }

 private:
  ThreadPool& pool_;
  std::deque<std::vector<uint64_t>> memory_;
};

}  // namespace switchyard::kernels
