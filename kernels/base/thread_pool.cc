#include "kernels/base/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace switchyard::kernels {
namespace {

// A pause takes about 40 cycles, so a thread spins for some 20 us: longer than a gap between two
// kernels of a layer, about what a wake-up costs.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// The gate of a job: [epoch : 32][open : 1][participants : 31]. A worker joins by adding itself
// while the gate is open; a job is over when it is closed and nobody is inside. So a worker that
// wakes late, or never gets a core, joins nothing and delays nobody.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kParticipants = kOpen - 1;
constexpr uint64_t Epoch(uint64_t gate) { return gate >> 32; }

}  // namespace

struct ThreadPool::State {
  std::mutex turn;  // held by the caller of ParallelFor

  std::atomic<uint64_t> gate{0};
  // The job; written while the gate is closed and empty, read inside it.
  Body body = nullptr;
  void* context = nullptr;
  int64_t tiles = 0;
  alignas(64) std::atomic<int64_t> next_tile{0};

  alignas(64) std::mutex mutex;
  std::condition_variable work_arrived;
  std::condition_variable job_left;
  std::atomic<int> sleeping_workers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};

  std::vector<std::thread> workers;

  void RunTiles(int worker);
  bool Join(uint64_t last_epoch, uint64_t* epoch);
  void Leave();
  bool WaitForWork(uint64_t last_epoch);
  void WorkerLoop(int worker);
  void WaitUntilEmpty();
};

void ThreadPool::State::RunTiles(int worker) {
  for (;;) {
    const int64_t tile = next_tile.fetch_add(1, std::memory_order_relaxed);
    if (tile >= tiles) return;
    body(context, tile, worker);
  }
}

bool ThreadPool::State::Join(uint64_t last_epoch, uint64_t* epoch) {
  uint64_t current = gate.load(std::memory_order_acquire);
  while ((current & kOpen) != 0 && Epoch(current) != last_epoch) {
    if (gate.compare_exchange_weak(current, current + 1, std::memory_order_acq_rel)) {
      *epoch = Epoch(current);
      return true;
    }
  }
  return false;
}

void ThreadPool::State::Leave() {
  const uint64_t before = gate.fetch_sub(1, std::memory_order_seq_cst);
  const bool last = (before & kParticipants) == 1 && (before & kOpen) == 0;
  if (last && caller_sleeps.load(std::memory_order_seq_cst)) {
    { std::lock_guard lock(mutex); }
    job_left.notify_one();
  }
}

// True when there is a job that this worker has not joined; false when the pool is being destroyed.
bool ThreadPool::State::WaitForWork(uint64_t last_epoch) {
  const auto ready = [&] {
    const uint64_t current = gate.load(std::memory_order_seq_cst);
    return ((current & kOpen) != 0 && Epoch(current) != last_epoch) || stop.load();
  };
  for (int spin = 0; spin < kSpins; ++spin) {
    if (ready()) return !stop.load();
    Pause();
  }
  std::unique_lock lock(mutex);
  sleeping_workers.fetch_add(1, std::memory_order_seq_cst);
  work_arrived.wait(lock, ready);
  sleeping_workers.fetch_sub(1, std::memory_order_seq_cst);
  return !stop.load();
}

void ThreadPool::State::WorkerLoop(int worker) {
  SetComputeThreadFloatMode();
  uint64_t epoch = 0;
  while (WaitForWork(epoch)) {
    if (!Join(epoch, &epoch)) continue;
    RunTiles(worker);
    Leave();
  }
}

void ThreadPool::State::WaitUntilEmpty() {
  const auto empty = [&] { return (gate.load(std::memory_order_seq_cst) & kParticipants) == 0; };
  for (int spin = 0; spin < kSpins; ++spin) {
    if (empty()) return;
    Pause();
  }
  std::unique_lock lock(mutex);
  caller_sleeps.store(true, std::memory_order_seq_cst);
  job_left.wait(lock, empty);
  caller_sleeps.store(false, std::memory_order_relaxed);
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  for (int worker = 1; worker < threads; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->WorkerLoop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->work_arrived.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int64_t tiles, Body body, void* context) {
  SetComputeThreadFloatMode();
  State& state = *state_;
  std::lock_guard turn(state.turn);
  if (tiles <= 1 || state.workers.empty()) {
    for (int64_t tile = 0; tile < tiles; ++tile) body(context, tile, 0);
    return;
  }
  state.body = body;
  state.context = context;
  state.tiles = tiles;
  state.next_tile.store(0, std::memory_order_relaxed);
  const uint64_t epoch = Epoch(state.gate.load(std::memory_order_relaxed)) + 1;
  state.gate.store((epoch << 32) | kOpen, std::memory_order_seq_cst);
  if (state.sleeping_workers.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(state.mutex); }
    state.work_arrived.notify_all();
  }
  state.RunTiles(0);
  state.gate.fetch_and(~kOpen, std::memory_order_seq_cst);
  state.WaitUntilEmpty();
}

void SetComputeThreadFloatMode() {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 0x8000;
  constexpr unsigned kDenormalsAreZero = 0x0040;
  const unsigned mode = _mm_getcsr();
  const unsigned wanted = mode | kFlushToZero | kDenormalsAreZero;
  if (mode != wanted) _mm_setcsr(wanted);
#endif
}

}  // namespace switchyard::kernels
