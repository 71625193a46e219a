#pragma once

// Hopper's copies, barriers and matrix instruction for threads of the host, under the names that
// they have in kernels/cuda/{async_copy,barrier,wgmma}.h, after the PTX ISA. What may happen late
// happens as late as it can: a thread's copies when it waits for them, products when their thread
// does. So a stage that is given back too early, or read too early, gives wrong sums (and is a data
// race, which ThreadSanitizer reports). Mistakes that would hang a device end the program.

#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/base/bf16.h"
#include "kernels/expert_ffn/grouped_gemm_descriptor_model.h"
#include "kernels/expert_ffn/grouped_gemm_host.h"
#include "kernels/expert_ffn/grouped_gemm_layout.h"

namespace switchyard::kernels {

inline void EmulationCheck(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "emulated device: %s\n", what);
  std::abort();
}

// "mbarrier": a phase is over when all arrivals and bytes have come.
class EmulatedBarrier {
 public:
  explicit EmulatedBarrier(uint32_t arrivals) : arrivals_(arrivals), left_(arrivals) {}

  void Arrive(int64_t expected_bytes) {
    const std::lock_guard lock(mutex_);
    EmulationCheck(left_ > 0, "more arrivals at a barrier than it was made for");
    --left_;
    bytes_ += expected_bytes;
    EndPhase();
  }

  void Complete(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes_ -= bytes;
    EndPhase();
  }

  void Wait(uint32_t phase) {
    std::unique_lock lock(mutex_);
    const bool over =
        changed_.wait_for(lock, std::chrono::minutes(1), [&] { return (phases_ & 1) != phase; });
    EmulationCheck(over, "a barrier is waited for in vain");
  }

 private:
  void EndPhase() {
    if (left_ > 0 || bytes_ != 0) return;
    ++phases_;
    left_ = arrivals_;
    changed_.notify_all();
  }

  const uint32_t arrivals_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint32_t left_;
  int64_t bytes_ = 0;
  uint32_t phases_ = 0;  // that are over
};

// What the threads of a block share. Addresses of shared memory count from 0.
struct EmulatedBlock {
  explicit EmulatedBlock(size_t bytes) : memory(bytes) {}
  std::vector<unsigned char> memory;
  std::map<uint32_t, EmulatedBarrier> barriers;  // complete before threads start

  EmulatedBarrier& barrier(uint32_t address) { return barriers.at(address); }
};

// Work that a thread has started: closed groups, and the one that is open.
struct EmulatedQueue {
  std::deque<std::vector<std::function<void()>>> groups;
  std::vector<std::function<void()>> open;

  void Commit() { groups.push_back(std::exchange(open, {})); }
  void Wait(size_t latest) {
    for (; groups.size() > latest; groups.pop_front()) {
      for (const auto& work : groups.front()) work();
    }
  }
};

struct EmulatedThread {
  EmulatedBlock* block = nullptr;
  std::barrier<>* warp = nullptr;
  int index = 0;
  EmulatedQueue copies, products;
  bool unfenced = false;  // has written what tensor cores read
};
inline thread_local EmulatedThread g_emulated;

inline void InitBarrier(uint32_t barrier, uint32_t arrivals) {
  g_emulated.block->barriers.try_emplace(barrier, arrivals);
}
inline void FenceBarrierInit() {}
inline void Arrive(uint32_t barrier) {
  EmulationCheck(!g_emulated.unfenced, "an arrival without a fence for tensor cores");
  g_emulated.block->barrier(barrier).Arrive(0);
}
inline void ArriveAndExpect(uint32_t barrier, uint32_t bytes) {
  g_emulated.block->barrier(barrier).Arrive(bytes);
}
inline void WaitForPhase(uint32_t barrier, uint32_t phase) {
  g_emulated.block->barrier(barrier).Wait(phase);
}
inline void SyncWarp() { g_emulated.warp->arrive_and_wait(); }
template <int kRegisters>
void LowerRegisters() {}
template <int kRegisters>
void RaiseRegisters() {}

inline void AcquireTensorMap(const void*) {}
inline void LoadLines(const void* encoded, int32_t line, uint32_t to, uint32_t barrier) {
  const auto map = grouped::HostMap::Decode(*static_cast<const grouped::WeightMap*>(encoded));
  EmulatedBlock& block = *g_emulated.block;
  for (int32_t i = 0; i < grouped::kInstructionRows; ++i) {
    for (uint32_t chunk = 0; chunk < 8; ++chunk) {
      const uint32_t offset = static_cast<uint32_t>(i) * grouped::kLineBytes + 16 * chunk;
      unsigned char* const chunk_to = &block.memory[to + grouped::Swizzle(offset)];
      if (line + i < map.lines) {
        std::memcpy(chunk_to, map.first + int64_t{line + i} * grouped::kStepDepth + 8 * chunk, 16);
      } else {
        std::memset(chunk_to, 0, 16);
      }
    }
  }
  block.barrier(barrier).Complete(grouped::kTileBytes);
}

inline void CopyChunk(uint32_t to, const void* from, uint32_t bytes) {
  EmulationCheck((to | reinterpret_cast<uintptr_t>(from)) % 16 == 0, "a copy is not aligned");
  g_emulated.copies.open.emplace_back([=] {
    unsigned char* const chunk = &g_emulated.block->memory[to];
    std::memset(chunk, 0, 16);
    std::memcpy(chunk, from, bytes);
    g_emulated.unfenced = true;
  });
}
inline void CommitCopies() { g_emulated.copies.Commit(); }
template <int kLatest>
void WaitForCopies() {
  g_emulated.copies.Wait(kLatest);
}
inline void FenceForTensorCores() { g_emulated.unfenced = false; }

inline void BeginProducts() {}
template <int kRegisters>
void HandOver(float (&)[kRegisters]) {}
inline void CommitProducts() { g_emulated.products.Commit(); }
// As the instruction, for a whole warp together.
template <int kLatest>
void WaitForProducts() {
  g_emulated.products.Wait(kLatest);
  SyncWarp();
}

// The thread's part of the instruction (PTX ISA, "Register fragments for wgmma", matrix D).
template <int kRegisters>
void AddProduct(uint64_t left, uint64_t right, float (&sums)[kRegisters]) {
  g_emulated.products.open.emplace_back([left, right, &sums] {
    const auto element = [](uint64_t descriptor, int row, uint32_t k) {
      uint16_t bits;
      const uint32_t at = testing::AddressRead(descriptor, static_cast<uint32_t>(row), k);
      std::memcpy(&bits, &g_emulated.block->memory[at], sizeof(bits));
      return Bf16ToFloat(bits);
    };
    const int thread = g_emulated.index % 128;
    const int row = 16 * (thread / 32) + thread % 32 / 4;
    for (uint32_t k = 0; k < grouped::kInstructionDepth; ++k) {
      const float upper = element(left, row, k), lower = element(left, row + 8, k);
      for (int i = 0; i < kRegisters; i += i % 4 == 0 ? 1 : 3) {
        const float x = element(right, 8 * (i / 4) + 2 * (thread % 4) + i % 4, k);
        sums[i] += upper * x;
        sums[i + 2] += lower * x;
      }
    }
  });
}

}  // namespace switchyard::kernels
