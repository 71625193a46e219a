#pragma once

// Kernels that a GPU runs, written so that the CPU can run the same source: tests compare it with
// the scalar reference bit by bit on a machine without a GPU.
//
// A kernel is a trivially copyable struct of its arguments (raw pointers that the device can reach,
// and numbers):
//
//   struct Kernel {
//     static constexpr int kThreads = 128;   // of a block
//     struct Shared { ... };                 // what the threads of a block share; not initialised
//     ...                                    // arguments
//     SWITCHYARD_SIMT int64_t Phases(int64_t block) const;   // the same for every thread
//     SWITCHYARD_SIMT void Run(int64_t phase, int64_t block, int thread, Shared& shared) const;
//   };
//
// A block runs its phases one after the other with a barrier behind each; nothing but `shared` and
// memory lives from one phase to the next. Threads of one phase must not read what another writes
// in it. A launch runs blocks 0 .. blocks - 1 in any order.
//
// The host side of an operation is a template over the launcher (host_launch.h says what it
// offers), so that it too is the same everywhere.

#if defined(__CUDACC__)
#define SWITCHYARD_SIMT __host__ __device__ inline
#else
#define SWITCHYARD_SIMT inline
#endif
