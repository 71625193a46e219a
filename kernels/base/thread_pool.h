#pragma once

// Compute threads of one role. Work is cut into small tiles that idle threads take from a shared
// counter, so a core that vanishes for a while delays only the tiles it holds. A waiting thread
// spins briefly, then sleeps. Results never depend on the number of threads: a tile's output is
// computed by one thread in a fixed order.

#include <cstdint>
#include <functional>
#include <memory>

namespace switchyard::kernels {

class ThreadPool {
 public:
  // `threads` counts the calling thread: 1 runs everything inline. Every compute thread, and each
  // thread that calls ParallelFor, runs with flush-to-zero and denormals-are-zero set.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(tile, worker) once for each tile in [0, tiles), worker in [0, threads()), and
  // returns when all are done. Any thread may call it; concurrent calls take turns. Not
  // reentrant from inside a body. No allocation.
  using Body = void (*)(void* context, int64_t tile, int worker);
  void ParallelFor(int64_t tiles, Body body, void* context);

  template <typename F>
  void ParallelFor(int64_t tiles, F&& f) {
    ParallelFor(
        tiles,
        [](void* context, int64_t tile, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(context))(tile, worker);
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Sets flush-to-zero and denormals-are-zero for the calling thread. The pool does it for its own
// threads and for callers of ParallelFor; loops that compute outside the pool call it once.
void SetComputeThreadFloatMode();

}  // namespace switchyard::kernels
