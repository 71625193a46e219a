#pragma once

// What this machine can do at most, measured with the threads of a pool, so that results can be
// given as ratios. Each call takes some tenths of a second; meant for benchmarks.

#include "kernels/base/numerics.h"
#include "kernels/base/thread_pool.h"

namespace switchyard::kernels {

// Bytes per second of reading memory in order, all threads together: best of several passes over a
// buffer that no cache holds (512 MiB, allocated during the call).
double MeasureDramReadRate(ThreadPool& pool);

// Floating-point operations per second (two a product) of the instruction that matmuls of the class
// are made of at the active CPU level, all threads together, operands in registers.
double MeasureDotProductPeak(NumericsClass numerics, ThreadPool& pool);

}  // namespace switchyard::kernels
