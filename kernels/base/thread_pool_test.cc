#include "kernels/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace switchyard::kernels {
namespace {

TEST(ThreadPoolTest, RunsEveryTileOnce) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t tiles : {0, 1, 2, 3, 100, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tiles));
      pool.ParallelFor(tiles, [&](int64_t tile, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        runs[static_cast<size_t>(tile)].fetch_add(1);
      });
      for (const std::atomic<int>& count : runs) EXPECT_EQ(count.load(), 1);
    }
  }
}

// A worker index is used by one thread at a time, so that it can name scratch memory.
TEST(ThreadPoolTest, WorkerIndexIsExclusive) {
  ThreadPool pool(3);
  int scratch[3] = {};  // not atomic: a sanitizer would see a shared index
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.ParallelFor(10, [&](int64_t, int worker) { ++scratch[worker]; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(scratch[0] + scratch[1] + scratch[2], 3 * 200 * 10);
}

TEST(ThreadPoolTest, ResultsAreVisibleToTheCaller) {
  ThreadPool pool(4);
  std::vector<int64_t> squares(64);
  for (int round = 0; round < 2000; ++round) {
    pool.ParallelFor(static_cast<int64_t>(squares.size()), [&](int64_t tile, int) {
      squares[static_cast<size_t>(tile)] = tile * tile + round;
    });
    for (size_t i = 0; i < squares.size(); ++i) {
      ASSERT_EQ(squares[i], static_cast<int64_t>(i * i) + round);
    }
  }
}

TEST(ThreadPoolTest, WakesWorkersThatFellAsleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // Both tiles wait for each other, so both threads must take part.
    std::atomic<int> arrived{0};
    pool.ParallelFor(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(ThreadPoolTest, CallerSleepsUntilASlowWorkerIsDone) {
  ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.ParallelFor(2, [&](int64_t tile, int) {
    if (tile == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    done.fetch_add(1);
  });
  EXPECT_EQ(done.load(), 2);
}

TEST(ThreadPoolTest, FlushesSubnormalsInEveryThread) {
  ThreadPool pool(3);
  std::atomic<int> flushed{0};
  pool.ParallelFor(30, [&](int64_t, int) {
    volatile float small = 1e-30f;
    const float product = small * small;
    volatile float subnormal = 1e-40f;
    const float doubled = subnormal * 2.0f;
    if (product == 0.0f && doubled == 0.0f) flushed.fetch_add(1);
  });
  EXPECT_EQ(flushed.load(), 30);
}

TEST(ThreadPoolTest, DestroysAnIdleAndAnUnusedPool) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(3);
    if (i % 2 == 0) pool.ParallelFor(3, [](int64_t, int) {});
  }
}

}  // namespace
}  // namespace switchyard::kernels
