#pragma once

// How warps of different roles meet. Barriers in shared memory count arrivals and the bytes of
// asynchronous copies (PTX ISA, "mbarrier"). For nvcc only. A barrier's phases alternate between 0
// and 1; it starts in phase 0, so a wait for phase 1 of a fresh barrier returns at once. Addresses
// are of the shared window.

#include <cstdint>

namespace switchyard::kernels {

// By one thread, before FenceBarrierInit and a barrier of the whole block.
__device__ inline void InitBarrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Shows initialised barriers to the unit that copies.
__device__ inline void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void Arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives; the phase also waits for `bytes` of copies.
__device__ inline void ArriveAndExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Waits until the phase is over; the hardware suspends the thread for a while at each try.
__device__ inline void WaitForPhase(uint32_t barrier, uint32_t phase) {
  uint32_t over = 0;
  while (over == 0) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over)
        : "r"(barrier), "r"(phase)
        : "memory");
  }
}

// The threads of a warp meet, and see what each other wrote before.
__device__ inline void SyncWarp() { __syncwarp(); }

// The warpgroup has this many registers a thread from now on: fewer at once, more when others have
// given them back.
template <int kRegisters>
__device__ inline void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace switchyard::kernels
