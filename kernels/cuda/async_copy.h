#pragma once

// Copies from global to shared memory that run beside the threads that start them (PTX ISA,
// "Asynchronous copy"). For nvcc only.

#include <cstdint>

namespace switchyard::kernels {

// A tensor map (tensor_map.h) in global memory that the host has written with a copy: before its
// first use.
__device__ inline void AcquireTensorMap(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}

// One thread copies the box of the map (tensor_map.h) at `line`; `barrier` counts its bytes. Lines
// behind the last are zero and counted too.
__device__ inline void LoadLines(const void* map, int32_t line, uint32_t to, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(0), "r"(line), "r"(barrier)
      : "memory");
}

// The thread copies `bytes` (0 to 16) and fills up to 16 with zeros. Both addresses are multiples
// of 16; with 0 bytes `from` is not read.
__device__ inline void CopyChunk(uint32_t to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

// The thread's copies since the last call are a group from now on.
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all groups of the thread but the latest `kLatest`.
template <int kLatest>
__device__ inline void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLatest) : "memory");
}

// What the thread has written to shared memory (CopyChunk too) is seen by tensor cores, which read
// it by another way than threads do.
__device__ inline void FenceForTensorCores() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace switchyard::kernels
